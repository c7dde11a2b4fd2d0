import * as ClientMetadataRoute from "@valetkey/http/ClientMetadataRoute"
import { Effect } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import * as Installation from "./Installation.ts"

/** What this installation publishes, on a port where the provider of these tests can fetch it, and who did. */
export const publishing = Effect.gen(function*() {
  const { dispose, handler } = HttpRouter.toWebHandler(
    ClientMetadataRoute.layer({ origin: Installation.publicUrl.origin, basePath: "" }),
    { disableLogger: true }
  )
  yield* Effect.addFinalizer(() => Effect.promise(dispose))
  const fetched: Array<string> = []
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    fetched.push(request.url ?? "")
    // A host that somebody else chose must not find its way into a document.
    const answered = await handler(new Request(new URL(request.url ?? "", "https://evil.example")))
    response.writeHead(answered.status, Object.fromEntries(answered.headers)).end(await answered.text())
  }
  const server = yield* Effect.acquireRelease(
    Effect.callback<ReturnType<typeof createServer>>((resume) => {
      const server = createServer((request, response) => void answer(request, response))
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => void server.close())
  )
  return { fetched, origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
})
