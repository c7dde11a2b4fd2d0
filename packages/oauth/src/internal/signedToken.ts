import { parseObject } from "./jsonObject.ts"

/** What a signed token says, unchecked. */
export interface SignedToken {
  readonly header: Readonly<Record<string, unknown>>
  readonly claims: Readonly<Record<string, unknown>>
}

/** Reads a JWT in its compact form (RFC 7519 §3); undefined for anything else. Its signature is not looked at. */
export const readToken = (token: unknown): SignedToken | undefined => {
  if (typeof token !== "string" || token.length > maxLength) return undefined
  const [header, payload, signature, rest] = token.split(".")
  if (header === undefined || payload === undefined || signature === undefined || rest !== undefined) return undefined
  const [head, claims] = [header, payload].map(objectIn)
  return head === undefined || claims === undefined ? undefined : { header: head, claims }
}

const objectIn = (part: string): SignedToken["claims"] | undefined => {
  try {
    return parseObject(Buffer.from(part, "base64url").toString())
  } catch {
    return undefined
  }
}

/** Whether a token names one of these audiences (RFC 7519 §4.1.3). */
export const isFor = ({ claims: { aud } }: SignedToken, audiences: ReadonlyArray<string>): boolean =>
  (Array.isArray(aud) ? aud : [aud]).some((one) => typeof one === "string" && audiences.includes(one))

/** What is longer than this is not read; no honest token comes near. */
const maxLength = 65_536
