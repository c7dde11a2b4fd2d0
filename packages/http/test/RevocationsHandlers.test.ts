import { assert, describe, it } from "@effect/vitest"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { caller, deposit } from "./Caller.ts"
import { layer } from "./Harness.ts"

type Receipt = Readonly<Record<string, unknown>> & { readonly id: string }

const listed = (json: Readonly<Record<string, unknown>>) => json["revocations"] as ReadonlyArray<Receipt>

describe("revocations", () => {
  it.effect("shows a disconnect from its first moment, without a secret, and what the provider made of it", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      assert.deepStrictEqual((yield* ada.get("/v1/revocations")).json, { revocations: [] })
      const body = deposit({
        revocationEndpoint: "https://as.example/revoke",
        accessToken: "at",
        expiresAt: "2100-01-01T00:00:00Z"
      })
      yield* ada.put("/v1/connections/notes", body)
      assert.strictEqual((yield* ada.delete("/v1/connections/notes")).status, 204)
      const { json, text } = yield* ada.get("/v1/revocations?server=notes")
      const [receipt] = listed(json)
      assert.deepInclude(receipt, {
        server: "notes",
        cause: "disconnect",
        outcome: "pending",
        attempts: 0,
        accessToken: { outcome: "pending", expiresAt: "2100-01-01T00:00:00.000Z" },
        refreshToken: { outcome: "pending" }
      })
      assert.property(receipt, "nextAttemptAt")
      assert.notInclude(text, body.refreshToken)
      const waiting = yield* Effect.forkChild(ada.get(`/v1/revocations/${receipt!.id}?wait=60`))
      yield* TestClock.adjust("1 second")
      yield* (yield* Housekeeping).revoke
      const settled = yield* Fiber.join(waiting)
      assert.deepInclude(settled.json, { id: receipt!.id, outcome: "confirmed", attempts: 1 })
      assert.notProperty(settled.json, "nextAttemptAt")
    }).pipe(Effect.provide(layer())))

  it.effect("gives pages and no other server's receipts, and refuses what is no page", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      for (const server of ["a", "b", "c"]) {
        yield* ada.put(`/v1/connections/${server}`, deposit())
        yield* ada.delete(`/v1/connections/${server}`)
        yield* TestClock.adjust("1 second")
      }
      const first = (yield* ada.get("/v1/revocations?limit=2")).json
      assert.deepStrictEqual(listed(first).map((one) => one["server"]), ["c", "b"])
      const rest = (yield* ada.get(`/v1/revocations?limit=2&after=${String(first["next"])}`)).json
      assert.deepStrictEqual(listed(rest).map((one) => one["server"]), ["a"])
      assert.notProperty(rest, "next")
      for (const query of ["limit=0", "after=x", "server=%20", "wait=1"]) {
        assert.strictEqual((yield* ada.get(`/v1/revocations?${query}`)).status, 400, query)
      }
      for (const id of ["x", "A".repeat(43)]) {
        const { json, status } = yield* ada.get(`/v1/revocations/${id}`)
        assert.deepStrictEqual([status, json["code"]], [404, "revocation_not_found"])
      }
      assert.strictEqual((yield* ada.get(`/v1/revocations/${String(first["next"])}?wait=61`)).status, 400)
      const writer = yield* caller({ scope: "connections:write" })
      assert.strictEqual((yield* writer.get("/v1/revocations")).status, 403)
    }).pipe(Effect.provide(layer())))
})
