import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Valetkey from "./support/Valetkey.ts"

describe("valetkey tenants", () => {
  it.live(
    "LIFE-02 deletes a tenant whose name is said twice, shows it, and gives the name back",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const valetkey = yield* Valetkey.make
        const unsure = yield* valetkey.json(["tenants", "delete", "acme"])
        assert.strictEqual(unsure.code, 2)
        const wrong = yield* valetkey.json(["tenants", "delete", "acme", "--confirm", "acmé"])
        assert.strictEqual(wrong.code, 2)
        const before = yield* valetkey.json(["tenants", "status", "acme"])
        assert.deepStrictEqual([before.code, before.document["state"]], [0, "active"])

        const deleted = yield* valetkey.json(["tenants", "delete", "acme", "--confirm", "acme"])
        assert.strictEqual(deleted.code, 0, deleted.stderr)
        assert.include(["deleting", "deleted"], deleted.document["state"])
        yield* valetkey.json(["tenants", "status", "acme"]).pipe(
          Effect.repeat({ until: ({ document }) => document["state"] === "deleted" }),
          Effect.timeout("30 seconds")
        )
        const allowed = yield* valetkey.json(["tenants", "allow", "acme"])
        assert.strictEqual(allowed.code, 0, allowed.stderr)
        const after = yield* valetkey.json(["tenants", "status", "acme"])
        assert.strictEqual(after.document["state"], "active")
      })),
    120_000
  )
})
