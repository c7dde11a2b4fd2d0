/** What the challenge of one scheme in a `WWW-Authenticate` header says of a refusal. */
export interface BearerChallenge {
  readonly error: string | undefined
  readonly scopes: ReadonlyArray<string>
}

// RFC 9110 §11.6.1: a scheme begins where a token is not followed by "="; everything else is a parameter of the last one.
const part = /([\w!#$%&'*+.^`|~-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?/g

/** Reads the first challenge of a scheme that names an error; longer headers than any honest one are not read. */
export const readChallenge = (
  header: string | null | undefined,
  wanted: "bearer" | "dpop"
): BearerChallenge | undefined => {
  if (header === null || header === undefined || header.length > 8192) return undefined
  let scheme = ""
  let found: Map<string, string> | undefined
  for (const [whole, name = "", quoted, plain] of header.matchAll(part)) {
    if (!whole.includes("=")) {
      if (found?.has("error") === true) break
      scheme = name.toLowerCase()
      if (scheme === wanted) found = new Map()
    } else if (scheme === wanted) {
      found?.set(name.toLowerCase(), quoted?.replaceAll(/\\(.)/g, "$1") ?? plain ?? "")
    }
  }
  return found && {
    error: found.get("error"),
    scopes: (found.get("scope") ?? "").split(/\s+/).filter((scope) => scope !== "")
  }
}

/** Reads the Bearer challenge. */
export const readBearer = (header: string | null | undefined): BearerChallenge | undefined =>
  readChallenge(header, "bearer")
