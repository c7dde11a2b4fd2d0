import { Schema } from "effect"
import { isStorable } from "./Tenant.ts"

/** Schema for the user within a tenant on whose behalf a caller acts. It comes from the caller's credential, never from a body. */
export const SubjectId = Schema.String.check(Schema.isBetweenLength(1, 255), isStorable).pipe(Schema.brand("SubjectId"))
export type SubjectId = typeof SubjectId.Type
