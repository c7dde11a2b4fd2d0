// The authorization servers of a run in a process of their own: one per rotation mode, and a real one. They break what a
// seed tells them to break, and remember every redemption.
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Effect, Redacted } from "effect"
import type { Grant, Mode, Redemption } from "./History.ts"
import type { Order, Ready } from "./ProviderOrders.ts"
import * as ProviderPlans from "./ProviderPlans.ts"
import * as Random from "./Random.ts"
import { consentAt } from "./RealConsent.ts"
import { indexOf } from "./Replicas.ts"

const random = Random.make(Number(process.argv[2]))
let share = Number(process.argv[3])
/** Until when a plan may be felt for a minute. */
const lastingUntil = Number(process.argv[4])
const grants = new Map<number, Grant>()
/** The grant of every refresh token that was issued. */
const lineage = new Map<string, number>()
const families = new Map<number, FakeProvider.Family>()
const lifetimes = new Map<number, number | undefined>()
/** Grants whose next redemption takes its time. */
const held = new Set<number>()
const log: Array<Redemption> = []

const reply = (provider: FakeProvider.FakeProvider): Reply.Reply => (exchange) =>
  Effect.suspend(() => {
    const token = exchange.form.get("refresh_token") ?? ""
    const grant = lineage.get(token)
    if (grant === undefined) return Reply.normal(exchange)
    const at = Date.now()
    const plan = held.delete(grant) ? ProviderPlans.late : ProviderPlans.draw(random, share, at < lastingUntil)
    const seen: { -readonly [Key in keyof Redemption]: Redemption[Key] } = {
      at,
      grant,
      token,
      replica: indexOf(exchange.from),
      plan: plan.name,
      outcome: plan.turnsAway ? "turned_away" : "nothing"
    }
    log.push(seen)
    let answer: Reply.Answer | undefined
    const process = (): Reply.Answer => {
      if (answer !== undefined) return answer
      const lifetime = lifetimes.get(grant)
      provider.behaviour.accessTokenTtlSeconds = lifetime ?? 3600
      answer = exchange.process()
      const body = JSON.parse(String(answer.body)) as Record<string, string | undefined>
      seen.outcome = answer.status === 200 ? "issued" : "refused"
      if (answer.status !== 200) return answer
      if (lifetime === undefined) delete body["expires_in"]
      if (plan.forgets === true) delete body["access_token"]
      seen.accessToken = body["access_token"]
      seen.refreshToken = body["refresh_token"]
      seen.expiresAt = lifetime === undefined ? undefined : Date.now() + lifetime * 1000
      if (seen.refreshToken !== undefined) lineage.set(seen.refreshToken, grant)
      return answer = { ...answer, body: JSON.stringify(body) }
    }
    exchange.response.once("finish", () => {
      seen.answered = Date.now()
    })
    return plan.reply({ ...exchange, process })
  })

const program = Effect.gen(function*() {
  const make = (rotation: FakeProvider.Rotation) =>
    Effect.tap(
      FakeProvider.make({ rotation, keepLog: false }),
      (provider) => Effect.sync(() => provider.always("token", reply(provider)))
    )
  const fakes = {
    refuse: yield* make("rotate-refuse-old"),
    revoke: yield* make("rotate-revoke-family"),
    grace: yield* make({ graceSeconds: 120 })
  }
  const real = yield* OidcProvider.make({
    accessTokenTtlSeconds: 3,
    onSecret: () => undefined,
    onRefresh: ({ accessToken, from, presented, refreshToken }) => {
      const grant = lineage.get(presented)
      if (grant === undefined) return
      const now = Date.now()
      if (refreshToken !== undefined) lineage.set(refreshToken, grant)
      log.push({
        at: now,
        grant,
        token: presented,
        replica: indexOf(from),
        plan: "honest",
        outcome: accessToken === undefined ? "refused" : "issued",
        accessToken,
        refreshToken,
        expiresAt: accessToken === undefined ? undefined : now + 3000,
        answered: now
      })
    }
  })
  const ports: Ready["ports"] = {
    refuse: Number(new URL(fakes.refuse.origin).port),
    revoke: Number(new URL(fakes.revoke.origin).port),
    grace: Number(new URL(fakes.grace.origin).port),
    real: real.port
  }

  const consent = async (mode: Mode, grant: number): Promise<readonly [accessToken: string, refreshToken: string]> => {
    if (mode === "real") return consentAt(real.issuer)
    const { accessToken, refreshToken } = fakes[mode].grant({ resource: fakes[mode].resource })
    families.set(grant, fakes[mode].families.at(-1)!)
    return [Redacted.value(accessToken), Redacted.value(refreshToken)]
  }

  const obey = async (order: Order): Promise<unknown> => {
    switch (order.do) {
      case "grant": {
        const [accessToken, refreshToken] = await consent(order.mode, order.grant)
        const grant: Grant = {
          id: order.grant,
          connection: order.connection,
          accessToken,
          refreshToken,
          at: Date.now()
        }
        grants.set(grant.id, grant)
        lineage.set(refreshToken, grant.id)
        lifetimes.set(grant.id, order.lifetimeSeconds)
        return grant
      }
      case "revoke": {
        const [grant, family] = [grants.get(order.grant), families.get(order.grant)]
        if (grant === undefined || family === undefined) return
        grant.revokedAt ??= Date.now()
        family.revoked = true
        return
      }
      case "calm":
        share = 0
        return
      case "hold":
        held.add(order.grant)
        return
      case "collect":
        return { grants: [...grants.values()], redemptions: log }
    }
  }
  process.on("message", ({ id, order }: { readonly id: number; readonly order: Order }) => {
    void obey(order).then((result) => process.send?.({ id, result }))
  })
  process.on("disconnect", () => process.exit())
  process.send?.({ ready: { ports } satisfies Ready })
  return yield* Effect.never
})

void Effect.runPromise(Effect.scoped(program))
