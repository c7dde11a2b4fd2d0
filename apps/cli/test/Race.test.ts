import { assert, describe, it } from "@effect/vitest"
import * as LocalSocket from "@valetkey/client/LocalSocket"
import * as Canary from "@valetkey/testing/Canary"
import { Effect } from "effect"
import { createServer } from "node:net"
import type { AddressInfo } from "node:net"
import * as StrayTraffic from "./support/StrayTraffic.ts"
import * as Valetkey from "./support/Valetkey.ts"

/** Asks the server without a command. */
const call = (valetkey: Valetkey.Installation, method: string, path: string, body?: unknown) =>
  Effect.promise(() =>
    LocalSocket.request({
      socket: valetkey.home.socket,
      method,
      path,
      headers: {
        authorization: `Bearer ${LocalSocket.readToken(valetkey.home.token)}`,
        "content-type": "application/json"
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) })
    })
  )

const namesOf = (valetkey: Valetkey.Installation) =>
  Effect.map(call(valetkey, "GET", "/v1/connections"), ({ body }) => {
    const { connections } = JSON.parse(body) as { readonly connections: ReadonlyArray<{ readonly server: string }> }
    return connections.map(({ server }) => server)
  })

const freePort: Effect.Effect<number> = Effect.callback((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

const small = ["--connections", "2", "--callers", "8"]

describe("valetkey doctor --race", () => {
  it.live("I1 sees one redemption for each token that ended or was refused, and leaves nothing but what was there", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      yield* valetkey.serve()
      const own = yield* call(valetkey, "PUT", "/v1/connections/own", {
        tokenEndpoint: "https://as.example/token",
        clientId: "own",
        refreshToken: Canary.makeText("refresh_token"),
        accessToken: Canary.makeText("access_token")
      })
      assert.strictEqual(own.status, 201)
      const { body: before } = yield* call(valetkey, "GET", "/v1/connections")

      // The third round waits for tokens that end by themselves.
      const ended = yield* valetkey.json(["doctor", "--race", "--rounds", "3", ...small])
      assert.strictEqual(ended.code, 0, ended.stdout)
      const { redemptions, run, slowestMillis, rounds, ...report } = ended.document
      assert.match(String(run), /^[0-9a-f]{8}$/)
      assert.isAtLeast(Number(slowestMillis), 200, "somebody waited for the answer that the simulator holds back")
      assert.deepStrictEqual(
        (rounds as ReadonlyArray<Record<string, unknown>>).map(({ failedCallers, kind }) => [kind, failedCallers]),
        [["missing", 0], ["refused", 0], ["ended", 0]]
      )
      // On a machine that stands still for seconds, a token of the second round ends within it and is replaced again.
      const { seen, ...others } = redemptions as Record<string, number>
      assert.isAtLeast(seen!, 6)
      assert.deepStrictEqual(others, { expected: 6, needless: 0, reused: 0 })
      assert.deepStrictEqual(report, {
        ok: true,
        servers: 1,
        connections: 2,
        callers: 8,
        calls: 48,
        callsByServer: [48],
        revokedConnections: 0,
        failedCallers: 0,
        failures: {},
        left: []
      })
      assert.strictEqual((yield* call(valetkey, "GET", "/v1/connections")).body, before)
    })))

  it.live("I1 finds a way to the provider that repeats requests, says so to a person, and cleans up all the same", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      yield* valetkey.serve()
      const port = yield* freePort
      const mesh = yield* StrayTraffic.repeating(`http://127.0.0.1:${port}`)
      const flags = ["--rounds", "2", "--listen", `127.0.0.1:${port}`, "--public-url", mesh]
      const ended = yield* valetkey.run(["doctor", "--race", ...small, ...flags])
      assert.strictEqual(ended.code, 1)
      // One of the check, and one of each connection, which is over with that.
      assert.match(ended.stdout, /^used twice +3 refresh tokens$/m)
      assert.match(ended.stdout, /^revoked for that +3 connections$/m)
      assert.match(ended.stdout, /^failed callers +[1-9]\d*$/m)
      assert.include(ended.stderr, "3 requests carried a refresh token that was used already")
      assert.notInclude(ended.stdout, "redeemed once")
      assert.deepStrictEqual(yield* namesOf(valetkey), [])
    })))

  it.live("is removed in the middle by whoever presses Ctrl+C", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      yield* valetkey.serve()
      const racing = yield* valetkey.start(["doctor", "--race", "--json", "--rounds", "20", ...small])
      yield* racing.saw("stderr", /doctor-race-/)
      yield* Valetkey.eventually(Effect.map(namesOf(valetkey), (names) => names.length === 3))
      racing.signal("SIGINT")
      const ended = yield* racing.ended
      assert.strictEqual(ended.code, 130)
      const { code, left } = Valetkey.theError(ended) as Valetkey.Failure & { readonly left?: unknown }
      assert.deepStrictEqual({ code, left }, { code: "interrupted", left: [] })
      assert.include(ended.stderr, "are being removed")
      assert.notInclude(ended.stderr, "Could not be removed")
      yield* Valetkey.eventually(Effect.map(namesOf(valetkey), (names) => names.length === 0))
    })))

  it.live("I25 refuses flags that mean nothing, a port that is taken and a credential that is not, and starts no server for it", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const type = "https://valetkey.dev/problems/unauthorized"
      const detail = "A safe sentence"
      const held = yield* StrayTraffic.listen(async () => [401, JSON.stringify({ type, code: "unauthorized", detail })])
      const race = ["doctor", "--race", "--url", held]
      const [stray, late, barred] = yield* Effect.all([
        valetkey.json(["doctor", "--rounds", "2"]),
        valetkey.json([...race, "--listen", new URL(held).host], { VALETKEY_TOKEN: "any" }),
        valetkey.json(race, { VALETKEY_TOKEN: "any" })
      ])
      assert.deepStrictEqual([stray.code, stray.error.code], [2, "usage"])
      assert.deepStrictEqual([late.code, late.error.code], [1, "simulator_not_started"])
      const { code, left } = barred.error as Valetkey.Failure & { readonly left?: unknown }
      assert.deepStrictEqual([barred.code, code, left], [1, "unauthorized", []])
      assert.strictEqual(valetkey.serverPid, undefined)
    })))
})
