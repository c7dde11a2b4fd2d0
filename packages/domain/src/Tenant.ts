import { Schema } from "effect"

/** Schema for the organisation on whose behalf a caller acts. It comes from the caller's credential, never from a body. */
export const TenantId = Schema.String.check(Schema.isBetweenLength(1, 255)).pipe(Schema.brand("TenantId"))
export type TenantId = typeof TenantId.Type
