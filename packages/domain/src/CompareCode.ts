import { Redacted, Schema } from "effect"
import type { Digest, Entropy } from "./Entropy.ts"

/** The letters of RFC 8628 §6.1: no vowels, so that no code is a word, and none that looks like another. */
const letters = "BCDFGHJKLMNPQRSTVWXZ"
const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

/**
 * Schema for the code that the program which started a flow and the connect page show alike, so that a person can tell
 * that the page belongs to what they began. It opens nothing.
 *
 * @see RFC 8628 §6.1
 */
export const CompareCode = Schema.String.check(
  Schema.isPattern(new RegExp(`^[${letters}]{4}-[${letters}]{4}$`), { expected: "a compare code such as WDJB-MJHT" })
).pipe(Schema.brand("CompareCode"))
export type CompareCode = typeof CompareCode.Type

/** The code of a connect ticket. The label keeps it apart from the ticket's own digest. */
export const ofTicket = (entropy: Entropy["Service"], ticket: Redacted.Redacted): CompareCode =>
  ofDigest(entropy.digest(Redacted.make(`valetkey compare code ${Redacted.value(ticket)}`)))

/** The code of a digest: about 34 of its bits, too few to say anything of what was hashed. */
export const ofDigest = (digest: Digest): CompareCode => {
  let number = 0n
  for (const character of digest) number = number * 64n + BigInt(base64url.indexOf(character))
  let code = ""
  for (let index = 0; index < 8; index++) {
    if (index === 4) code += "-"
    code += letters[Number(number % 20n)]
    number /= 20n
  }
  return CompareCode.make(code)
}
