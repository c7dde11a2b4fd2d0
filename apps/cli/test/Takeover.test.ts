import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { readFileSync } from "node:fs"
import * as Valetkey from "./support/Valetkey.ts"

type Checks = ReadonlyArray<{ readonly name: string; readonly state: string; readonly found: string }>

const instanceOf = (found: unknown) => (found as Checks).find(({ name }) => name === "server: instance")

describe("valetkey takeover", () => {
  it.live("I24 LIFE-04 needs a word of confirmation, and the doctor knows why it is needed", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      assert.strictEqual((yield* valetkey.run(["keys", "add"])).code, 0)
      const own = yield* valetkey.json(["takeover", "--confirm"])
      assert.deepStrictEqual([own.code, own.document["takenOver"]], [0, false])
      yield* valetkey.stop()
      const original = readFileSync(valetkey.home.instance, "utf8").trim()

      const serving = yield* valetkey.serve({ VALETKEY_INSTANCE_ID: "laptop" })
      const sick = yield* valetkey.json(["doctor"])
      assert.strictEqual(sick.code, 1)
      const { checks } = sick.error as unknown as { readonly checks: unknown }
      assert.strictEqual(instanceOf(checks)?.state, "fail")
      assert.include(instanceOf(checks)?.found, "valetkey takeover --confirm")

      const asked = yield* valetkey.json(["takeover"])
      assert.strictEqual(asked.code, 2)
      assert.deepInclude(asked.error as object, { code: "usage", configured: "laptop", stored: original })
      const taken = yield* valetkey.json(["takeover", "--confirm"])
      assert.strictEqual(taken.code, 0, taken.stderr)
      assert.deepInclude(taken.document, { ok: true, instance: "laptop", takenOver: true })
      const well = yield* valetkey.json(["doctor"])
      assert.strictEqual(instanceOf(well.document["checks"])?.state, "ok")
      serving.signal("SIGTERM")
    })))
})
