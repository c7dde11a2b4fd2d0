import { assert, it } from "@effect/vitest"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { Schema } from "effect"

it("I10 refuses names of tenants and subjects that a store could fold into one another", () => {
  for (const id of [TenantId, SubjectId]) {
    for (const text of ["a", "Ä ✓ 𝕏", "a\tb", "x".repeat(255)]) assert.isTrue(Schema.is(id)(text), text)
    for (const text of ["", "a\0", "\uD800", "a\uDC00b", "x".repeat(256)]) assert.isFalse(Schema.is(id)(text), text)
  }
})
