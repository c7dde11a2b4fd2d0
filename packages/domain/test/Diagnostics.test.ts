import { assert, describe, it } from "@effect/vitest"
import { RedemptionError } from "@valetkey/domain/AuthorizationServer"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { failureSentence, type Flow } from "@valetkey/domain/Flow"
import { Flows } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { StoreError } from "@valetkey/domain/StoreError"
import * as Canary from "@valetkey/testing/Canary"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Cause, Duration, Effect, Fiber, Layer, Logger, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { Browser, comeBack, connect, keyOf, layer, Provider, response } from "./World.ts"

/** Runs with a logger that keeps every line, causes included. */
const withLog = <A, E, R>(use: (lines: ReadonlyArray<string>) => Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const lines: Array<string> = []
    const logger = Logger.make(({ cause, logLevel, message }) => {
      lines.push([logLevel, JSON.stringify(message, reveal), Cause.pretty(cause)].join(" "))
    })
    return use(lines).pipe(Effect.provide(Layer.mergeAll(layer, Logger.layer([logger]))))
  })

const reveal = (_: string, value: unknown) =>
  value instanceof Error
    ? `${value.name}: ${value.message} ${Cause.pretty(Cause.fail(value))} ${String(value.cause)}`
    : value

/** What a caller can see of a flow. */
const visible = (flow: Flow) => JSON.stringify([flow, flow.failure === undefined ? "" : failureSentence[flow.failure]])

describe("a failing flow", () => {
  it.effect("S1.32 S1.33 shows a fixed sentence and keeps the cause for the log, from exchange and store alike", () =>
    withLog((lines) =>
      Effect.gen(function*() {
        const provider = yield* Provider
        const body = "provider body with /etc/passwd"
        provider.exchange = () =>
          Effect.fail(
            new RedemptionError({ reason: { _tag: "Terminal", error: "invalid_grant" }, cause: new Error(body) })
          )
        const refused = yield* connect(yield* keyOf("exchange"))
        assert.strictEqual(refused.failure, "code_rejected")
        assert.notInclude(visible(refused), "passwd")
        assert.isTrue(lines.some((line) => line.startsWith("Warn") && line.includes("passwd")), lines.join("\n"))

        provider.exchange = (issue) => issue
        const store = yield* ConnectionStore
        const down = new StoreError({
          code: "store_unavailable",
          operation: "get",
          cause: new Error("path /var/lib/secret")
        })
        const { get } = store
        const key = yield* keyOf("store")
        const flows = yield* Flows
        const started = yield* flows.start(key)
        if (started._tag !== "Started") return assert.fail(started._tag)
        Object.assign(store, { get: () => Effect.fail(down) })
        const delivery = yield* comeBack(started.flow.id, response(started.authorizationUrl))
        const settling = yield* Effect.forkChild(delivery.settled)
        yield* TestClock.adjust("20 seconds")
        const failed = yield* Fiber.join(settling)
        Object.assign(store, { get })
        assert.strictEqual(failed.failure, "storage_failed")
        assert.notInclude(visible(failed), "secret")
        assert.isTrue(
          lines.some((line) => line.startsWith("Error") && line.includes("/var/lib/secret")),
          lines.join("\n")
        )
      })
    ))

  it.effect("S1.35 warns when the transport cannot be closed, and the outcome stays", () =>
    withLog((lines) =>
      Effect.gen(function*() {
        const flows = yield* Flows
        const started = yield* flows.start(yield* keyOf("mcp"))
        if (started._tag !== "Started") return assert.fail(started._tag)
        ;(yield* Browser).onClose = Effect.die(new Error("socket stuck"))
        const { settled } = yield* comeBack(started.flow.id, response(started.authorizationUrl))
        assert.strictEqual((yield* settled).state, "completed")
        yield* Effect.yieldNow
        assert.strictEqual(
          lines.filter((line) => line.startsWith("Warn") && line.includes("socket stuck")).length,
          1,
          lines.join("\n")
        )
      })
    ))

  it.effect("S3x.17 S1.40 closes the application to the end, and tells of the transport that cannot be closed", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ cause, logLevel, message }) => {
        lines.push([logLevel, String(message), Cause.pretty(cause)].join(" "))
      })
      const browser = yield* Effect.scoped(
        Effect.gen(function*() {
          const flows = yield* Flows
          for (const slug of ["a", "b"]) yield* flows.start(yield* keyOf(slug))
          const browser = yield* Browser
          let failures = 1
          browser.onClose = Effect.suspend(() => failures-- > 0 ? Effect.die(new Error("socket stuck")) : Effect.void)
          return browser
        }).pipe(Effect.provide(layer), Effect.provide(Logger.layer([logger])))
      )
      assert.strictEqual(browser.open.size, 0)
      assert.strictEqual(lines.filter((line) => line.includes("socket stuck")).length, 1, lines.join("\n"))
    }))

  it.effect("S1.34 warns once when its record vanished in mid-run, and stores nothing", () =>
    withLog((lines) =>
      Effect.gen(function*() {
        const [flows, points, store] = [yield* Flows, yield* InjectionPoints, yield* FlowStore]
        const key = yield* keyOf("mcp")
        const started = yield* flows.start(key)
        if (started._tag !== "Started") return assert.fail(started._tag)
        const owner = { id: started.flow.id, tenant: key.tenant, subject: key.subject }
        yield* points.pause("flow.before_commit")
        yield* comeBack(started.flow.id, response(started.authorizationUrl))
        yield* points.awaitReached("flow.before_commit")
        yield* flows.cancel(owner)
        // The newest flow of a connection is kept; this one is the newest no more.
        yield* flows.start(key)
        yield* TestClock.adjust("3 days")
        yield* store.sweep({ retention: Duration.zero, limit: 10 })
        assert.isTrue(Option.isNone(yield* store.get(owner)))
        yield* points.release("flow.before_commit")
        yield* points.awaitReached("flow.after_commit")
        yield* Effect.yieldNow
        assert.isTrue(Option.isNone(yield* (yield* ConnectionStore).get(key)))
        assert.strictEqual(lines.filter((line) => line.startsWith("Warn")).length, 1, lines.join("\n"))
      })
    ))

  it.effect("I12 writes no secret into the log, at any level", () =>
    withLog((lines) =>
      Effect.gen(function*() {
        const provider = yield* Provider
        const token = Canary.make("refresh_token")
        provider.exchange = () =>
          Effect.fail(new RedemptionError({ reason: { _tag: "UnknownOutcome" }, cause: { token } }))
        yield* connect(yield* keyOf("mcp"))
        assert.isNotEmpty(lines)
        for (const canary of [token, ...provider.verifiers.map((verifier) => Redacted.make(verifier))]) {
          assert.notInclude(lines.join("\n"), Redacted.value(canary))
        }
      })
    ))
})
