import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { chmodSync, renameSync, symlinkSync, writeFileSync } from "node:fs"
import * as LocalSocket from "../src/LocalSocket.ts"
import * as StubServer from "./StubServer.ts"

const get = (stub: { readonly socket: string }, path = "/") =>
  Effect.tryPromise({
    try: () => LocalSocket.request({ socket: stub.socket, method: "GET", path }),
    catch: (error) => (error as LocalSocket.LocalSocketError).code
  })

describe("LocalSocket", () => {
  it.live("reads bodies by length, in chunks, and of none", () =>
    Effect.scoped(Effect.gen(function*() {
      const long = "é".repeat(200_000)
      const stub = yield* StubServer.make(({ url }, response) => {
        if (url === "/length") response.writeHead(200, { "content-length": Buffer.byteLength(long) }).end(long)
        else if (url === "/chunks") {
          for (let at = 0; at < long.length; at += 10_000) response.write(long.slice(at, at + 10_000))
          response.end()
        } else response.writeHead(204).end()
      })
      assert.strictEqual((yield* get(stub, "/length")).body, long)
      assert.strictEqual((yield* get(stub, "/chunks")).body, long)
      assert.deepInclude(yield* get(stub, "/none"), { status: 204, body: "" })
    })))

  it.live("DAEM-13 tells a broken answer from none and from another protocol", () =>
    Effect.scoped(Effect.gen(function*() {
      const stub = yield* StubServer.make(({ url }, response) => {
        if (url === "/other") response.socket?.end("SSH-2.0-OpenSSH\r\n\r\n")
        else if (url === "/half") response.socket?.end("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        else response.socket?.destroy()
      })
      assert.strictEqual(yield* Effect.flip(get(stub, "/other")), "not_http")
      assert.strictEqual(yield* Effect.flip(get(stub, "/half")), "disconnected")
      assert.strictEqual(yield* Effect.flip(get(stub, "/cut")), "disconnected")
    })))

  it.live("DAEM-02 sends nothing through what could be somebody else's", () =>
    Effect.scoped(Effect.gen(function*() {
      const stub = yield* StubServer.make((_, response) => response.end())
      chmodSync(stub.directory, 0o750)
      assert.strictEqual(yield* Effect.flip(get(stub)), "not_ours")
      chmodSync(stub.directory, 0o700)
      const real = `${stub.socket}.real`
      renameSync(stub.socket, real)
      symlinkSync(real, stub.socket)
      assert.strictEqual(yield* Effect.flip(get(stub)), "not_ours")
      assert.lengthOf(stub.arrived, 0)
    })))

  it.live("DAEM-02 sends nothing through a directory or a socket that somebody else owns", () =>
    Effect.scoped(Effect.gen(function*() {
      const stub = yield* StubServer.make((_, response) => response.end())
      const own = process.getuid?.() ?? 0
      // Who asks is somebody else in the place of the file: only root could give one away.
      const asks = yield* Effect.acquireRelease(
        Effect.sync(() => {
          const { getuid } = process
          const answers: Array<number> = []
          process.getuid = () => answers.shift() ?? own
          return { answers, getuid }
        }),
        ({ getuid }) =>
          Effect.sync(() => {
            if (getuid !== undefined) process.getuid = getuid
          })
      )
      for (const answers of [[own + 1], [own, own + 1]]) {
        asks.answers.push(...answers)
        assert.strictEqual(yield* Effect.flip(get(stub)), "not_ours")
        assert.lengthOf(asks.answers, 0)
      }
      assert.lengthOf(stub.arrived, 0)
      assert.strictEqual((yield* get(stub)).status, 200)
    })))

  it("DAEM-15 reads no token that others could", () => {
    const stub = Effect.scoped(StubServer.make(() => {}))
    return Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const gone = yield* stub
      assert.throws(() => LocalSocket.readToken(gone.tokenFile), LocalSocket.LocalSocketError)
      const { tokenFile } = yield* StubServer.make(() => {})
      assert.strictEqual(LocalSocket.readToken(tokenFile), "boot-token")
      chmodSync(tokenFile, 0o640)
      assert.throws(() => LocalSocket.readToken(tokenFile), LocalSocket.LocalSocketError)
    })))
  })

  it.live("refuses to write a header that would begin another one", () =>
    Effect.scoped(Effect.gen(function*() {
      const stub = yield* StubServer.make((_, response) => response.end())
      writeFileSync(stub.tokenFile, "t")
      const smuggled = yield* Effect.exit(Effect.tryPromise(() =>
        LocalSocket.request({ socket: stub.socket, method: "GET", path: "/ HTTP/1.1\r\nx: y\r\n\r\nGET /v1" })
      ))
      assert.strictEqual(smuggled._tag, "Failure")
      assert.lengthOf(stub.arrived, 0)
    })))
})
