import { assert, describe, it } from "@effect/vitest"
import * as LocalSocket from "@valetkey/client/LocalSocket"
import * as Canary from "@valetkey/testing/Canary"
import { Effect } from "effect"
import { DatabaseSync } from "node:sqlite"
import * as Valetkey from "./support/Valetkey.ts"

/** Stores a connection whose access token is good for an hour. */
const deposit = (valetkey: Valetkey.Installation, accessToken: string) =>
  Effect.promise(async () => {
    const call = (path: string, body: object) =>
      LocalSocket.request({
        socket: valetkey.home.socket,
        method: "PUT",
        path,
        headers: {
          authorization: `Bearer ${LocalSocket.readToken(valetkey.home.token)}`,
          "content-type": "application/json"
        },
        body: JSON.stringify(body)
      })
    await call("/v1/servers/notes", { resource: "https://notes.example/mcp" })
    const answer = await call("/v1/connections/notes", {
      tokenEndpoint: "https://as.example/token",
      clientId: "x",
      accessToken,
      refreshToken: Canary.makeText("refresh"),
      expiresAt: new Date(Date.now() + 3_600_000).toISOString()
    })
    assert.strictEqual(answer.status, 201, answer.body)
  })

/** Changes the stored record while no server runs. */
const tamper = (valetkey: Valetkey.Installation, statement: string) =>
  Effect.sync(() => {
    const database = new DatabaseSync(valetkey.home.database)
    database.exec(statement)
    database.close()
  })

describe("valetkey audit", () => {
  it.live(
    "LEAK-12 LIFE-10 lists who used which secret and exits with 1 when the record was changed",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const valetkey = yield* Valetkey.make
        yield* valetkey.serve()
        const token = Canary.makeText("access")
        yield* deposit(valetkey, token)
        for (let use = 0; use < 2; use++) {
          const used = yield* valetkey.run(["token", "notes"])
          assert.strictEqual(used.stdout.trim(), token, used.stderr)
        }
        const whole = yield* valetkey.run(["audit", "verify"])
        assert.strictEqual(whole.code, 0, whole.stderr)
        assert.match(whole.stdout, /^2:[A-Za-z0-9_-]{43}\n$/)
        // The end of the process ends the window in which uses are counted.
        yield* valetkey.stop()
        yield* valetkey.serve()
        const listed = yield* valetkey.json(["audit", "list"])
        const events = listed.document["events"] as ReadonlyArray<Readonly<Record<string, unknown>>>
        assert.deepStrictEqual(
          events.map(({ action, count, from, principal }) => [action, principal, from, count]),
          [
            ["server.stored", "local", "socket", undefined],
            ["connection.deposited", "local", "socket", undefined],
            ["token.read", "local", "socket", 2]
          ]
        )
        assert.notStrictEqual(events[1]?.["fingerprint"], events[2]?.["fingerprint"])
        const page = yield* valetkey.run(["audit", "list", "--after", "2", "--limit", "1"])
        assert.include(page.stdout, "token.read")
        assert.notInclude(page.stdout + listed.stdout, token)
        const pinned = ["audit", "verify", "--expect", whole.stdout.trim()]
        assert.strictEqual((yield* valetkey.run(pinned)).code, 0)

        yield* valetkey.stop()
        yield* tamper(valetkey, "UPDATE audit SET subject = 'mallory' WHERE seq = 2")
        yield* valetkey.serve()
        const edited = yield* valetkey.json(["audit", "verify"])
        assert.strictEqual(edited.code, 1)
        assert.strictEqual(edited.error.code, "audit_chain_broken")
        assert.deepInclude(edited.error, { fault: { kind: "altered", seq: 2 } } as never)

        yield* valetkey.stop()
        yield* tamper(valetkey, "DELETE FROM audit; DELETE FROM audit_heads")
        yield* valetkey.serve()
        assert.strictEqual((yield* valetkey.run(["audit", "verify"])).code, 0)
        assert.strictEqual((yield* valetkey.run(pinned)).code, 1)
        assert.strictEqual((yield* valetkey.run(["audit", "list", "--limit", "0"])).code, 2)
      })),
    { timeout: 60_000 }
  )
})
