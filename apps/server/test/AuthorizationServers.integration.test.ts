import { assert, describe, it } from "@effect/vitest"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect } from "effect"
import * as Authority from "./authorities/Authority.ts"
import * as Replica from "./support/Replica.ts"

/** How often both replicas refresh at once. Only the first refresh is asked for: the others wait for half a lifetime. */
const roundsOf = ({ lifetime }: Authority.Authority): number => lifetime < 5 ? 3 : 1

const installed = (authority: Authority.Authority) =>
  Effect.gen(function*() {
    const { url } = yield* EmbeddedPostgres.database
    const publicPort = yield* Replica.freePort
    const { env, token } = Replica.deployment({
      databaseUrl: Replica.text(url),
      publicPort,
      allowEgress: [...new Set([authority.origin, authority.resource].map((url) => new URL(url).host))].join(",")
    })
    return yield* Effect.all([
      Replica.start({ ...env, VALETKEY_PUBLIC_LISTEN: `127.0.0.1:${publicPort}` }, token),
      Replica.start(env, token)
    ], { concurrency: 2 })
  })

/** Starts a flow for the person and returns how it ended. */
const flow = Effect.fnUntraced(function*(replica: Replica.Replica, visit: UserAgent.Visit = {}, server = "it") {
  const started = yield* replica.call("POST", "/v1/flows", { server, reauthorize: true })
  assert.strictEqual(started.status, 201, JSON.stringify(started.body))
  yield* UserAgent.make().authorize(String(started.body["connectUrl"]), visit)
  return (yield* replica.call("GET", `/v1/flows/${started.body["flowId"]}?wait=20`)).body
})

const tokenOf = (replica: Replica.Replica, rejectedToken?: string) =>
  Effect.map(replica.call("POST", "/v1/connections/it/token", { rejectedToken }), ({ body, status }) => {
    assert.strictEqual(status, 200, JSON.stringify(body["code"]))
    return String(body["accessToken"])
  })

/** The same server once more, its responses signed: started on one replica, answered to the other. */
const connectsSigned = Effect.fnUntraced(function*(
  { resource }: Authority.Authority,
  [here, there]: readonly [Replica.Replica, Replica.Replica]
) {
  const description = { resource, quirks: { signedResponses: true } }
  assert.strictEqual((yield* here.call("PUT", "/v1/servers/signed", description)).status, 201)
  const denied = yield* flow(there, { deny: true }, "signed")
  assert.strictEqual((denied["failure"] as { readonly code?: string }).code, "access_denied")
  const connected = yield* flow(there, {}, "signed")
  assert.strictEqual(connected["status"], "completed", JSON.stringify(connected))
})

describe("an authorization server of independent make", () => {
  for (const [name, start] of Object.entries(Authority.all)) {
    it.live(
      `DISC-01 REG-01 REF-02 is refused, connects, refreshes on two replicas at once and revokes: ${name}`,
      () =>
        Effect.gen(function*() {
          const authority = yield* start
          const replicas = yield* installed(authority)
          const [here, there] = replicas
          assert.strictEqual((yield* here.call("PUT", "/v1/servers/it", { resource: authority.resource })).status, 201)

          // One of them asks nobody again who consented once.
          const refused = yield* flow(there, { deny: true })
          assert.strictEqual((refused["failure"] as { readonly code?: string }).code, "access_denied")
          assert.deepStrictEqual(yield* authority.redemptions, [])

          if (authority.signsResponses) yield* connectsSigned(authority, replicas)

          const connected = yield* flow(here)
          assert.strictEqual(connected["status"], "completed", JSON.stringify(connected))
          let current = yield* tokenOf(there)
          assert.isTrue(yield* authority.takes(current))

          for (let round = 1; round <= roundsOf(authority); round++) {
            const before = current
            const rejected = round === 1 ? before : undefined
            const both = Effect.forEach(replicas, (replica) => tokenOf(replica, rejected), { concurrency: 2 })
            const [one, other] = yield* Effect.repeat(both, {
              until: (tokens) => tokens.every((token) => token !== before)
            })
            assert.strictEqual(one, other)
            current = one!
            assert.isTrue(yield* authority.takes(current))
            const redemptions = yield* authority.redemptions
            assert.strictEqual(redemptions.length, round)
            assert.isTrue(redemptions.every(({ status }) => status === 200))
            assert.strictEqual(new Set(redemptions.map(({ presented }) => presented)).size, round)
          }

          assert.strictEqual((yield* there.call("DELETE", "/v1/connections/it")).status, 204)
          yield* Effect.repeat(authority.takes(current), { until: (taken) => !taken })
          const gone = yield* here.call("POST", "/v1/connections/it/token", {})
          assert.strictEqual(gone.body["code"], "connection_not_found")
        }).pipe(Effect.scoped),
      60_000
    )
  }
})
