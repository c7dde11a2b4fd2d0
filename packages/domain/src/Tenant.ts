import { Schema } from "effect"

/** Filter for text that every store keeps byte for byte: no NUL, no lone surrogates, which UTF-8 would fold into one another. */
export const isStorable = Schema.makeFilter((text: string) =>
  text.isWellFormed() && !text.includes("\0") ? undefined : "expected well-formed text without NUL"
)

/** Schema for the organisation on whose behalf a caller acts. It comes from the caller's credential, never from a body. */
export const TenantId = Schema.String.check(Schema.isBetweenLength(1, 255), isStorable).pipe(Schema.brand("TenantId"))
export type TenantId = typeof TenantId.Type
