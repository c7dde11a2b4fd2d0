import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Promises from "../src/Promises.ts"
import * as StubServer from "./StubServer.ts"

describe("Promises", () => {
  it.live("gives a token in the open and rejects with the error's value", () =>
    Effect.scoped(Effect.gen(function*() {
      const stub = yield* StubServer.make(({ url }, response) =>
        url.includes("/notes/")
          ? StubServer.json(response, 200, {
            accessToken: "secret",
            tokenType: "Bearer",
            expiresAt: "2999-01-01T00:00:00.000Z",
            scopes: ["read"],
            generation: 1,
            resource: "https://notes.example/mcp"
          })
          : response.writeHead(500).end("hunter2")
      )
      for (const place of [stub, { url: stub.url, token: "t" }]) {
        const client = Promises.connect(place)
        const token = yield* Effect.promise(() => client.token("notes", { minValidity: "30 seconds" }))
        assert.deepStrictEqual(token, {
          accessToken: "secret",
          tokenType: "Bearer",
          expiresAt: new Date("2999-01-01T00:00:00.000Z"),
          scopes: ["read"],
          generation: 1,
          resource: "https://notes.example/mcp"
        })
        const error = yield* Effect.promise(() => client.connections().then(() => undefined, (error) => error))
        assert.strictEqual((error as { readonly code: unknown }).code, "unexpected_response")
        yield* Effect.promise(() => client.close())
      }
    })))
})
