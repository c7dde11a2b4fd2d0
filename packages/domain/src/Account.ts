import { Schema } from "effect"

/** The longest label that is kept, in characters. */
export const maxLabel = 120

/**
 * Schema for an account at a provider. Issuer and id name it for good; everything else that a provider says of it may
 * change or be given to somebody else.
 *
 * @see OpenID Connect Core 1.0 §5.7
 */
export const NamedAccount = Schema.Struct({
  issuer: Schema.String.check(Schema.isBetweenLength(1, 2048)),
  /** `sub` (OpenID Connect Core 1.0 §2). */
  id: Schema.String.check(
    Schema.isPattern(/^[\x20-\x7E]{1,255}$/, { expected: "1 to 255 printable ASCII characters" })
  ),
  /** What a person knows the account by. For people to read, never to compare. */
  label: Schema.optionalKey(Schema.String.check(Schema.isBetweenLength(1, maxLabel)))
})
export type NamedAccount = typeof NamedAccount.Type

/** Schema for whose credentials a connection holds. */
export const Account = Schema.Struct({
  ...NamedAccount.fields,
  /** When this account took the place of another one on the same connection. */
  replacedAt: Schema.optionalKey(Schema.DateTimeUtcFromString)
})
export type Account = typeof Account.Type

/**
 * Schema for what becomes of a consent that another account gave than the one of the connection: `refuse` keeps the
 * connection as it is and fails the flow, `replace` stores the new account's credentials and records the change.
 */
export const AccountChange = Schema.Literals(["refuse", "replace"])
export type AccountChange = typeof AccountChange.Type

/** Whether both are the same account: issuer and id, to the letter. */
export const isSame = (a: Pick<Account, "issuer" | "id">, b: Pick<Account, "issuer" | "id">): boolean =>
  a.issuer === b.issuer && a.id === b.id

/** What says nothing on a line of text, or changes how the line reads: controls, formats such as bidi marks, surrogates. */
const unreadable = /[\p{C}\p{Z}\s]+/gu

/** The text as a label: one line of bounded length; undefined when nothing readable is left. */
export const labelOf = (text: unknown): string | undefined => {
  if (typeof text !== "string") return undefined
  // Bounded before anything looks at it: what is cut off here would be cut off below.
  const line = text.slice(0, 8 * maxLabel).normalize("NFC").replace(unreadable, " ").trim()
  let label = ""
  for (const character of line) {
    if (label.length + character.length > maxLabel) break
    label += character
  }
  return label.trim() === "" ? undefined : label.trim()
}

/** What becomes of an answer, given the account of the connection that it is to replace. */
export type AccountVerdict =
  | { readonly _tag: "Accepted"; readonly account: Account | undefined; readonly replaced: boolean }
  /** Another account consented. Its tokens are of another grant. */
  | { readonly _tag: "Changed" }
  /** The answer does not say who consented. It may be the same grant. */
  | { readonly _tag: "Unconfirmed" }

/**
 * Judges who consented: nobody is known yet, or it is the same account, or the policy decides. An answer that names nobody
 * does not confirm an account that is known; or else leaving out `openid` would be the way around the policy.
 */
export const judge = (
  known: Account | undefined,
  told: Account | undefined,
  policy: AccountChange
): AccountVerdict => {
  if (known === undefined) return { _tag: "Accepted", account: told, replaced: false }
  if (told !== undefined && isSame(known, told)) {
    return { _tag: "Accepted", account: { ...known, ...told }, replaced: false }
  }
  if (policy === "replace") return { _tag: "Accepted", account: told, replaced: true }
  return { _tag: told === undefined ? "Unconfirmed" : "Changed" }
}
