import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import { once } from "node:events"
import { connect, type Socket } from "node:net"
import * as Listeners from "../src/Listeners.ts"

const head = (body = "") => `GET / HTTP/1.1\r\nhost: x\r\n${body}\r\n`

/** Everything that the server says until it hangs up, or what happened instead. */
const heard = (socket: Socket): Promise<string> =>
  new Promise((resolve) => {
    const chunks: Array<Buffer> = []
    socket.on("data", (chunk) => chunks.push(chunk))
    socket.on("error", (error) => resolve(error.message))
    socket.on("end", () => resolve(String(Buffer.concat(chunks))))
    socket.resume()
  })

/** A listener that is told to leave, and a way to it. */
const listening = (application: Listeners.Application) =>
  Effect.gen(function*() {
    const leave = yield* Deferred.make<void>()
    const { loaded, reachable } = yield* Listeners.open({
      address: { host: "127.0.0.1", port: 0 },
      application: Effect.succeed(application),
      leaving: Deferred.await(leave)
    })
    yield* loaded
    const { hostname, port } = new URL(reachable)
    return {
      leave: () => Deferred.doneUnsafe(leave, Effect.void),
      dial: () => connect({ host: hostname, port: Number(port), allowHalfOpen: true })
    }
  })

const answered = (answer: string) => {
  assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/)
  assert.match(answer, /\r\nconnection: close\r\n/i)
  assert.match(answer, /in full$/)
}

describe("a listener that leaves", () => {
  it.live("I19 answers who had been let in by the system but not by the server yet", () =>
    Effect.scoped(Effect.gen(function*() {
      const { dial, leave } = yield* listening((_, response) => response.end("in full"))
      const answers = yield* Effect.promise(async () => {
        const sockets = Array.from({ length: 20 }, dial)
        const hearing = sockets.map(heard)
        // They wait at the system's door from the next tick on, and the server turns to nobody before it is told to leave.
        await Promise.resolve()
        sockets.forEach((socket) => socket.write(head()))
        leave()
        return Promise.all(hearing)
      })
      answers.forEach(answered)
    })))

  it.live("I19 answers a request that came on a kept connection before it hung up", () =>
    Effect.scoped(Effect.gen(function*() {
      const { dial, leave } = yield* listening((_, response) => response.end("in full"))
      const answer = yield* Effect.promise(async () => {
        const socket = dial()
        socket.write(head())
        await once(socket, "data")
        const hearing = heard(socket)
        // The write is with the system when it returns.
        socket.write(head())
        leave()
        return hearing
      })
      answered(answer)
    })))

  it.live("I19 hangs up on nobody who is still reading", () =>
    Effect.scoped(Effect.gen(function*() {
      const large = Buffer.alloc(32 * 1024 * 1024, "x")
      const finished = yield* Deferred.make<void>()
      const { dial, leave } = yield* listening((_, response) => {
        response.write(large)
        response.end("in full")
        Deferred.doneUnsafe(finished, Effect.void)
      })
      const socket = dial()
      socket.pause()
      socket.write(head())
      yield* Deferred.await(finished)
      leave()
      // Whoever dials is refused from now on; the reader has read nothing yet.
      const refused = Effect.promise(async () => {
        const other = dial()
        return await heard(other) !== ""
      })
      yield* Effect.repeat(refused, { until: (isRefused) => isRefused })
      const answer = yield* Effect.promise(() => heard(socket))
      assert.isAbove(answer.length, large.length)
      assert.match(answer, /in full\r\n0\r\n\r\n$/)
    })))

  it.live("lets go of who asks for nothing, used or not", () =>
    Effect.scoped(Effect.gen(function*() {
      const { dial, leave } = yield* listening((_, response) => response.end("in full"))
      const answers = yield* Effect.promise(async () => {
        const [used, unused] = [dial(), dial()]
        used.write(head())
        await Promise.all([once(used, "data"), once(unused, "connect")])
        const hearing = [used, unused].map(heard)
        leave()
        return Promise.all(hearing)
      })
      assert.deepStrictEqual(answers, ["", ""])
    })))
})
