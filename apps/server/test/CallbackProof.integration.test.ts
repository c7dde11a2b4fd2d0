import { assert, describe, it } from "@effect/vitest"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as ReverseProxy from "@valetkey/testing/ReverseProxy"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Clock, Effect, Fiber, Latch } from "effect"
import { randomInt } from "node:crypto"
import * as Replica from "./support/Replica.ts"

// VALETKEY_PROOF_FLOWS=10000 VALETKEY_PROOF_REPEATED=100 is the long proof.
const flows = Number(process.env["VALETKEY_PROOF_FLOWS"] ?? 120)
const repeated = Number(process.env["VALETKEY_PROOF_REPEATED"] ?? 6)
const seed = Number(process.env["VALETKEY_PROOF_SEED"] ?? randomInt(2 ** 31))
const duplicates = 50
const tenants = 10
const people = 32

/** The same numbers for the same seed (mulberry32). */
const chance = () => {
  let state = seed
  return (below: number) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

const installed = Effect.gen(function*() {
  const database = yield* EmbeddedPostgres.database
  const provider = yield* FakeProvider.make({ registration: false, clientIdDocuments: false })
  const draw = chance()
  const ports = yield* Effect.all([Replica.freePort, Replica.freePort, Replica.freePort])
  const proxy = yield* ReverseProxy.make({ targets: ports, next: () => draw(ports.length) })
  const deployment = Replica.deployment({
    databaseUrl: Replica.text(database.url),
    publicPort: proxy.port,
    allowEgress: new URL(provider.origin).host
  })
  const startAll = Effect.all(
    ports.map((port) =>
      Replica.start({ ...deployment.env, VALETKEY_LISTEN: `127.0.0.1:${port}`, VALETKEY_FLOW_TTL: "1h" })
    ),
    { concurrency: 3 }
  )
  let replicas = yield* startAll
  const up = yield* Latch.make(true)
  const repeats = { starts: 0, callbacks: 0, pages: 0 }

  /** What a person or a program does that got no answer, or was told to come back: waits for the service, and asks again. */
  const insist = <A extends { readonly status: number }, E>(
    what: keyof typeof repeats,
    attempt: (times: number) => Effect.Effect<A, E>
  ): Effect.Effect<A, E> =>
    Effect.gen(function*() {
      for (let times = 0;; times++) {
        yield* up.await
        const answer = yield* attempt(times)
        if (times === 20 || answer.status !== 502 && answer.status !== 503) return answer
        repeats[what]++
      }
    })

  return {
    provider,
    proxy,
    draw,
    repeats,
    insist,
    up,
    callerOf: (sub: string, tenant: string) =>
      Replica.caller(proxy.origin, Replica.tokenOf(deployment, { sub, tenant })),
    /** Ends every replica as a roll-out would, all at once, and starts others in their places. */
    restart: Effect.gen(function*() {
      yield* up.close
      const before = replicas
      for (const replica of before) replica.signal("SIGTERM")
      for (const replica of before) {
        const { code, stderr } = yield* replica.ended
        assert.strictEqual(code, 0, stderr)
      }
      replicas = yield* startAll
      yield* up.open
      return before.every(({ pid }, index) => replicas[index]?.pid !== pid)
    })
  }
})

/** The smallest value that is not below the given share of all. */
const quantile = (values: ReadonlyArray<number>, share: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? 0

describe(`${flows} flows on three replicas behind a proxy that picks one by chance`, () => {
  it.live(
    `I2 I9 FLOW-05 FLOW-26 FLOW-27 all complete for whom they began, each code posted once, though ${repeated} callbacks come ${duplicates} times more and every replica is restarted`,
    () =>
      Effect.scoped(Effect.gen(function*() {
        const began = yield* Clock.currentTimeMillis
        const { callerOf, draw, insist, provider, proxy, repeats, restart, up } = yield* installed
        for (let index = 0; index < tenants; index++) {
          const put = yield* callerOf("operator", `tenant-${index}`)("PUT", "/v1/servers/fake", {
            resource: provider.resource,
            scopes: ["read"],
            client: { clientId: "fake-client", authMethod: "none" }
          })
          assert.strictEqual(put.status, 201)
        }
        const often = new Set(
          Array.from({ length: flows }, (_, index) => index).slice(0, repeated).map((index) =>
            Math.floor(index * flows / repeated)
          )
        )
        const codes = new Set<string>()
        const waits = new Array<number>()

        /** Starts as a program does and goes to the provider as a person does. */
        const begin = Effect.fnUntraced(function*(index: number) {
          const [sub, tenant] = [`person-${index}`, `tenant-${index % tenants}`]
          const call = callerOf(sub, tenant)
          // Who does not know whether it was started starts again in its place.
          const started = yield* insist("starts", (times) =>
            call("POST", "/v1/flows", { server: "fake", ...(times === 0 ? {} : { onConflict: "supersede" }) }))
          assert.strictEqual(started.status, 201, JSON.stringify(started.body))
          const browser = UserAgent.make()
          const left = yield* insist("pages", () =>
            browser.leave(String(started.body["connectUrl"])).pipe(
              Effect.map((url) => ({ status: 200, url })),
              Effect.catch((error) =>
                Effect.succeed({ status: 502, url: error })
              )
            ))
          assert.instanceOf(left.url, URL)
          const authorizationUrl = left.url as URL
          authorizationUrl.searchParams.set("login_hint", `${tenant}/${sub}`)
          return {
            index,
            call,
            browser,
            authorizationUrl,
            flowId: String(started.body["flowId"]),
            who: `${tenant}/${sub}`
          }
        })
        type Begun = Effect.Success<ReturnType<typeof begin>>

        /** Consents and comes back, once or very often, reloading where nobody answers. */
        const finish = Effect.fnUntraced(function*({ authorizationUrl, browser, index }: Begun) {
          const callback = yield* browser.callbackUrl(
            authorizationUrl,
            authorizationUrl.searchParams.get("redirect_uri") ?? ""
          )
          codes.add(callback.searchParams.get("code") ?? "")
          const from = yield* Clock.currentTimeMillis
          const deliver = insist("callbacks", () =>
            Effect.catch(browser.request(callback), () => Effect.succeed({ status: 502, headers: new Headers() })))
          const times = often.has(index) ? 1 + duplicates : 1
          const pages = yield* Effect.all(
            Array.from({ length: times }, () =>
              deliver),
            { concurrency: times }
          )
          waits.push((yield* Clock.currentTimeMillis) - from)
          assert.deepStrictEqual([...new Set(pages.map(({ status }) => status))], [303])
          assert.strictEqual(new Set(pages.map(({ headers }) => headers.get("location"))).size, 1)
        })

        let count = 0
        const thinking = new Array<Begun>()
        const all = new Array<Begun>()
        const middle = yield* Latch.make()
        const restarting = yield* Effect.forkChild(Effect.andThen(middle.await, restart))
        yield* Effect.forEach(
          Array.from({ length: flows }, (_, index) => index),
          (index) =>
            Effect.gen(function*() {
              const flow = yield* begin(index)
              all.push(flow)
              if (++count === Math.floor(flows / 2)) yield* middle.open
              // Every other person takes long at the provider: the replicas that they come back to are others.
              if (draw(2) === 0) thinking.push(flow)
              else yield* finish(flow)
            }),
          { concurrency: people, discard: true }
        )
        assert.isTrue(yield* Fiber.join(restarting))
        yield* up.await
        yield* Effect.forEach(thinking.toSorted(() => draw(3) - 1), finish, { concurrency: people, discard: true })

        const owners = new Map<string, string>()
        yield* Effect.forEach(all, ({ call, flowId }) =>
          Effect.map(
            insist("pages", () => call("GET", `/v1/flows/${flowId}?wait=30`)),
            ({ body }) => assert.strictEqual(body["status"], "completed", JSON.stringify([seed, body]))
          ), {
          concurrency: people,
          discard: true
        })
        for (const { accessTokens, subject } of provider.families) {
          for (const token of accessTokens) {
            owners.set(token, subject)
          }
        }
        yield* Effect.forEach(all, ({ call, who }) =>
          Effect.map(call("POST", "/v1/connections/fake/token", {}), ({ body, status }) => {
            assert.strictEqual(status, 200)
            assert.strictEqual(owners.get(String(body["accessToken"])), who, String(seed))
          }), { concurrency: people, discard: true })

        assert.strictEqual(all.length, flows)
        assert.strictEqual(codes.size, flows)
        for (const code of codes) {
          assert.strictEqual(provider.tokenCount(code), 1)
        }
        assert.strictEqual(provider.requests("token").length, flows)
        assert.strictEqual(
          new Set(provider.families.map(({ subject }) =>
            subject
          )).size,
          flows
        )
        assert.strictEqual(provider.requests("registration").length, 0)
        for (const answered of proxy.answered()) {
          assert.isAbove(answered, flows)
        }
        const seconds = ((yield* Clock.currentTimeMillis) - began) / 1000
        console.info(JSON.stringify({
          flows,
          repeated,
          seed,
          seconds,
          flowsPerSecond: Math.round(flows / seconds),
          answered: proxy.answered(),
          unanswered: proxy.failed(),
          repeats,
          callbackMillis: { p50: quantile(waits, 0.5), p99: quantile(waits, 0.99), max: quantile(waits, 1) }
        }))
      })),
    3_600_000
  )
})
