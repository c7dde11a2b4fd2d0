import type { AccessToken } from "../AccessToken.ts"

/** What one round of a refresh came to. */
export type Step =
  | { readonly _tag: "Done"; readonly token: AccessToken }
  | { readonly _tag: "Again"; readonly overtaken?: true }

export const done = (token: AccessToken): Step => ({ _tag: "Done", token })

/** The row is worth another look. */
export const again: Step = { _tag: "Again" }

/** The claim ended before it could be marked as sent, and somebody else has one now. */
export const overtaken: Step = { _tag: "Again", overtaken: true }
