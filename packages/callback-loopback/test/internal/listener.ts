import { assert } from "@effect/vitest"
import { LoopbackTransport } from "@valetkey/callback-loopback"
import { Effect, Exit, Fiber, type Redacted, Scope } from "effect"
import { pending, rightState } from "./flow.ts"
import { knock, visit } from "./visitor.ts"

/** Opens a listener for a scripted flow in a scope of its own. */
export const open = (preferred?: string, options?: LoopbackTransport.LoopbackOptions, onward?: Redacted.Redacted) =>
  Effect.gen(function*() {
    const transport = yield* LoopbackTransport.make(options)
    const flow = yield* pending(preferred, onward)
    const scope = yield* Scope.make()
    const { redirectUri } = yield* Scope.provide(transport.open(flow.request), scope)
    yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
    const url = new URL(redirectUri)
    return { flow, url, redirectUri, port: Number(url.port), close: Scope.close(scope, Exit.void) }
  })

/** The address of a response. */
export const callback = (redirectUri: string, parameters: Readonly<Record<string, string>>): string =>
  `${redirectUri}?${new URLSearchParams(parameters)}`

/** The address of the response that the flow waits for. */
export const right = (redirectUri: string): string => callback(redirectUri, { state: rightState, code: "the-code" })

/** The right response still completes the flow: nothing before it changed anything. */
export const completes = (opened: Effect.Success<ReturnType<typeof open>>) =>
  Effect.gen(function*() {
    const page = yield* Effect.forkChild(visit(right(opened.redirectUri)))
    yield* opened.flow.claimed
    yield* opened.flow.settle("completed")
    const answer = yield* Fiber.join(page)
    assert.strictEqual(answer.status, 200)
    assert.include(answer.body, "Connected")
  })

/** Nobody listens there. */
export const refused = (port: number, host?: string) =>
  Effect.map(Effect.flip(knock(port, host)), ({ code }) => assert.strictEqual(code, "ECONNREFUSED"))
