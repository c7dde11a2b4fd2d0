import type { Finding, Text } from "./Finding.ts"

/** Credentials written into a file. A line that describes a secret's shape is not one that carries it. */
export const secretLiterals = (text: Text): ReadonlyArray<Finding> => {
  if (published.has(text.path)) return []
  const unquoted = /\.(ya?ml|env|ini|conf|toml|sh)$|(^|\/)\.(env|ci)/.test(text.path)
  return text.content.split("\n").flatMap((line, index) => {
    const kind = issued(line) ?? assigned(line, unquoted)
    return kind === undefined
      ? []
      : [{ check: "secrets", where: `${text.path}:${index + 1}`, message: `carries what looks like ${kind}` }]
  })
}

// Keys that anyone may know, each because nothing but the own machine answers to its name.
const published = new Set(["packages/egress/test/fixtures/localhost-key.pem"])

// Shapes that only an issuer makes.
const shapes: ReadonlyArray<readonly [RegExp, string]> = [
  [/-----BEGIN ([A-Z]+ )?PRIVATE KEY-----\s*(\\n)?[A-Za-z0-9+/=]{16}/, "a private key"],
  [/^-----BEGIN ([A-Z]+ )?PRIVATE KEY-----$/, "a private key"],
  [/\b(AKIA|ASIA)[A-Z0-9]{16}\b/, "a cloud access key"],
  [/\b(gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{50,})\b/, "a source host's token"],
  [/\bxox[abpr]-[A-Za-z0-9-]{20,}/, "a chat token"],
  [/\b(sk|rk)_live_[A-Za-z0-9]{16,}/, "a payment key"],
  [/\beyJ[\w-]{20,}\.eyJ[\w-]{20,}\.[\w-]{32,}/, "a signed token"]
]

const issued = (line: string): string | undefined => shapes.find(([shape]) => shape.test(line))?.[1]

const assignment =
  /(?:secret|password|passwd|api_?key|access_?token|refresh_?token|private_?key|credential)s?["'`\]]{0,2}\s*(?::|=)\s*(.+)$/i

const assigned = (line: string, unquoted: boolean): string | undefined => {
  const value = assignment.exec(line)?.[1]
  if (value === undefined) return undefined
  const literal = /^["'`]([^"'`]+)["'`]/.exec(value)?.[1] ?? (unquoted ? /^([^\s"'#]+)/.exec(value)?.[1] : undefined)
  return literal !== undefined && looksRandom(literal) ? "a secret" : undefined
}

// Long, of one alphabet, with digits among letters, and neither words nor the alphabet in order: what a generator makes and nobody types.
const looksRandom = (value: string): boolean =>
  value.length >= 20 && /^[A-Za-z0-9+/_=.~-]+$/.test(value) && /\d/.test(value) && /[A-Za-z]/.test(value) &&
  !/[-_.](?:[a-z]+[-_.])+|01234567|abcdefgh/i.test(value) &&
  entropy(value) >= (/^[0-9a-f]{32,}$/i.test(value) ? 3 : 3.6)

const entropy = (value: string): number => {
  const counts = new Map<string, number>()
  for (const character of value) counts.set(character, (counts.get(character) ?? 0) + 1)
  let bits = 0
  for (const count of counts.values()) bits -= (count / value.length) * Math.log2(count / value.length)
  return bits
}
