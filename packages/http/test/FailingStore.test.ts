import { assert, describe, it } from "@effect/vitest"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { StoreError } from "@valetkey/domain/StoreError"
import { LogRecorder } from "@valetkey/testing/LogRecorder"
import { Effect, Layer } from "effect"
import * as JwtAuthenticator from "../src/JwtAuthenticator.ts"
import { Readiness } from "../src/Readiness.ts"
import * as Routes from "../src/Routes.ts"
import { caller, jwt } from "./Caller.ts"
import { layerWorld } from "./Harness.ts"
import { layerHttp } from "./Http.ts"

describe("a store that fails", () => {
  const broken = Layer.effect(
    ConnectionStore,
    Effect.map(ConnectionStore, (store) =>
      ConnectionStore.of({
        ...store,
        list: () =>
          Effect.fail(new StoreError({ code: "store_corrupt", operation: "list", cause: "relation x at db:5432" })),
        get: () => Effect.die(new Error("relation \"connections\" does not exist"))
      }))
  )
  const server = layerHttp(Routes.layerApi()).pipe(
    Layer.provide([JwtAuthenticator.layerSecret(jwt), Readiness.layerAlways]),
    Layer.provide(Layer.provideMerge(Layer.provide(Layer.fresh(Connections.layer), broken), layerWorld())),
    Layer.provideMerge(LogRecorder.layer)
  )

  it.effect("S3.49 API-19 is a 500 without detail; the log has the cause under the correlation id", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const known = yield* ada.get("/v1/connections")
      const defect = yield* ada.get("/v1/connections/notes")
      const lines = yield* (yield* LogRecorder).lines
      for (
        const [answer, code, cause] of [
          [known, "store_corrupt", "relation x at db:5432"],
          [defect, "internal", "does not exist"]
        ] as const
      ) {
        assert.strictEqual(answer.status, 500)
        assert.strictEqual(answer.json["code"], code)
        assert.strictEqual(answer.headers.get("content-type"), "application/problem+json")
        assert.notMatch(answer.text, /relation x|does not exist|db:5432|node_modules|\bat \//)
        const id = String(answer.json["correlationId"])
        assert.isTrue(lines.some((line) => line.includes(id) && line.includes(cause)), lines.join("\n"))
      }
    }).pipe(Effect.provide(server)))
})
