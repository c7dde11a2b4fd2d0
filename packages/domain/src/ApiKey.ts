import { type DateTime, Schema } from "effect"
import type { SubjectId } from "./Subject.ts"
import type { TenantId } from "./Tenant.ts"

/** Schema for the visible part of an API key: `vk_` and 32 hexadecimal digits. Not a secret. */
export const ApiKeyId = Schema.String.check(Schema.isPattern(/^vk_[0-9a-f]{32}$/, {
  expected: "the part of an API key before its second '_'"
})).pipe(Schema.brand("ApiKeyId"))
export type ApiKeyId = typeof ApiKeyId.Type

/** A credential that an operator hands to a program: whom it acts for, what it may do, and until when. Its secret is nowhere. */
export interface ApiKey {
  readonly id: ApiKeyId
  readonly tenant: TenantId
  readonly subject: SubjectId
  /** What the operator calls it. */
  readonly name: string
  readonly scopes: ReadonlyArray<string>
  readonly createdAt: DateTime.Utc
  readonly expiresAt: DateTime.Utc
  readonly revokedAt?: DateTime.Utc | undefined
  /** When it was used, give or take an hour. */
  readonly lastUsedAt?: DateTime.Utc | undefined
}

/** The id and the secret of a key as it is handed out, `vk_<id>_<secret>`; undefined for any other text. */
export const parseApiKey = (text: string): { readonly id: ApiKeyId; readonly secret: string } | undefined => {
  const found = /^(vk_[0-9a-f]{32})_([A-Za-z0-9_-]{43})$/.exec(text)
  return found === null ? undefined : { id: ApiKeyId.make(found[1]!), secret: found[2]! }
}
