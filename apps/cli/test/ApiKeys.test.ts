import { assert, describe, it } from "@effect/vitest"
import * as LocalSocket from "@valetkey/client/LocalSocket"
import * as Canary from "@valetkey/testing/Canary"
import { Effect } from "effect"
import * as Valetkey from "./support/Valetkey.ts"

/** The status that a caller with this credential gets. */
const statusWith = (valetkey: Valetkey.Installation, credential: string) =>
  Effect.promise(async () => {
    const answer = await LocalSocket.request({
      socket: valetkey.home.socket,
      method: "GET",
      path: "/v1/connections",
      headers: { authorization: `Bearer ${credential}` },
      body: undefined
    })
    return answer.status
  })

describe("valetkey api-keys", () => {
  it.live("API-12 makes a key whose credential is shown once, lists it, and revokes it within a second", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const made = yield* valetkey.run([
        "api-keys",
        "create",
        "job",
        "--scope",
        "connections:read",
        "--expires-in",
        "30d"
      ])
      assert.strictEqual(made.code, 0, made.stderr)
      const credential = made.stdout.trim()
      assert.match(credential, /^vk_[0-9a-f]{32}_[A-Za-z0-9_-]{43}$/)
      const id = credential.slice(0, 35)
      Canary.register("api-key", credential.slice(36))
      assert.include(made.stderr, id)
      assert.notInclude(made.stderr, credential)
      assert.strictEqual(yield* statusWith(valetkey, credential), 200)

      const listed = yield* valetkey.run(["api-keys", "list"])
      assert.include(listed.stdout, `${id}  job`)
      assert.match(listed.stdout, /ends in (30d|29d 23h)/)
      assert.notInclude(listed.stdout, credential.slice(36))

      assert.strictEqual((yield* valetkey.run(["api-keys", "revoke", id])).code, 0)
      const revokedAt = Date.now()
      while ((yield* statusWith(valetkey, credential)) === 200) assert.isBelow(Date.now() - revokedAt, 1000)
      assert.strictEqual(yield* statusWith(valetkey, credential), 401)
      assert.match((yield* valetkey.run(["api-keys", "list"])).stdout, /revoked/)
      const unknown = yield* valetkey.json(["api-keys", "revoke", `vk_${"0".repeat(32)}`])
      assert.deepInclude(unknown.document["error"] as object, { code: "api_key_not_found" })
    })))

  it.live("says what a scope and a lifetime look like", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      for (const wrong of [["--scope", "everything"], ["--scope", "admin", "--expires-in", "soon"], []]) {
        const answer = yield* valetkey.run(["--no-start", "api-keys", "create", "job", ...wrong])
        assert.strictEqual(answer.code, 2, answer.stderr)
      }
    })))
})
