import { assert, describe, it, type Vitest } from "@effect/vitest"
import { type AuditEvent, AuditLog } from "@valetkey/domain/AuditLog"
import { Effect, type Layer } from "effect"
import * as Fixture from "./internal/contractFixtures.ts"

/** Runs the contract of `AuditLog` on a layer; the log is read through `options.auditTrail`. */
export const suite = <R>(
  name: string,
  layer: Layer.Layer<AuditLog | R, unknown>,
  options: Fixture.ContractOptions<R>
): void => {
  describe(`AuditLog (${name})`, () => it.layer(layer, { timeout: "60 seconds" })((it) => cases(it, options)))
}

/** The cases of the contract, for a suite that shares its layer with others. */
export const cases = <R>(it: Vitest.MethodsNonLive<AuditLog | R>, options: Fixture.ContractOptions<R>): void => {
  it.effect("keeps every event in the order of appending", () =>
    Effect.gen(function*() {
      const log = yield* AuditLog
      const key = Fixture.newKey()
      const events: ReadonlyArray<AuditEvent> = [
        { ...eventOf(key), action: "flow.started", outcome: "pending" },
        { ...eventOf(key), action: "flow.settled", outcome: "completed", generation: 1 },
        { ...eventOf(key), action: "token.refresh_failed", outcome: "refresh_token_rejected", generation: 1 },
        { ...eventOf(key), action: "connection.disconnected", outcome: "done" }
      ]
      for (const event of events) yield* log.append(event)
      assert.deepStrictEqual(yield* options.auditTrail(key.tenant), events)
    }))

  it.effect("I10 keeps the events of tenants apart", () =>
    Effect.gen(function*() {
      const log = yield* AuditLog
      const [mine, theirs] = [Fixture.newKey(), Fixture.newKey()]
      yield* log.append(eventOf(mine))
      yield* log.append(eventOf(theirs))
      assert.deepStrictEqual(yield* options.auditTrail(mine.tenant), [eventOf(mine)])
    }))
}

const eventOf = (key: ReturnType<typeof Fixture.newKey>): AuditEvent => ({
  tenant: key.tenant,
  subject: key.subject,
  server: key.server,
  action: "token.refreshed",
  outcome: "done"
})
