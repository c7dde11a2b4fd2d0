import { Redacted } from "effect"
import { randomInt } from "node:crypto"
import { appendFileSync, existsSync, readFileSync } from "node:fs"
import * as Artefacts from "./internal/artefacts.ts"

/** One secret that must not turn up anywhere: its kind and the part of it that no other text contains by chance. */
export interface Canary {
  readonly kind: string
  readonly unique: string
}

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
const known = new Map<string, Canary>()

/** Secret of the form `CANARY-<kind>-<32 base62>`, registered for the scan at the end of the run. */
export const make = (kind: string): Redacted.Redacted => Redacted.make(makeText(kind))

/** Same as {@link make} as plain text, for peers that write it on a wire. */
export const makeText = (kind: string): string => {
  let random = ""
  while (random.length < 32) random += alphabet[randomInt(alphabet.length)]
  const secret = `CANARY-${kind}-${random}`
  register(kind, secret)
  return secret
}

/** Registers a secret that somebody else made; one shorter than 16 characters is too common to look for. */
export const register = (kind: string, secret: string): void => {
  const unique = uniquePart(secret)
  if (unique.length < 16 || known.has(unique)) return
  known.set(unique, { kind, unique })
  const file = Artefacts.registry()
  if (file !== undefined) appendFileSync(file, `${kind} ${unique}\n`, { mode: 0o600 })
}

/** Canaries of this process and, within a test run, of every process of the run. */
export const all = (): ReadonlyArray<Canary> => {
  const file = Artefacts.registry()
  if (file === undefined || !existsSync(file)) return [...known.values()]
  const canaries = new Map(known)
  for (const line of readFileSync(file, "utf8").split("\n")) {
    const [kind, unique] = line.split(" ")
    if (kind !== undefined && unique !== undefined) canaries.set(unique, { kind, unique })
  }
  return [...canaries.values()]
}

// Every JWT of one issuer starts alike, and every canary of one kind does: only the tail identifies the secret.
const uniquePart = (secret: string): string =>
  /^CANARY-[\w-]+-([0-9A-Za-z]{32})$/.exec(secret)?.[1] ??
    /^[\w-]+\.[\w-]+\.([\w-]+)$/.exec(secret)?.[1] ??
    secret
