// Plays one connection from consent to revocation on real parts: `node tooling/demo/main.ts [--json] [--browser] [--stay]`.
import { Cause, Effect, Fiber } from "effect"
import { program } from "./Command.ts"
import * as Stage from "./Stage.ts"
import * as Story from "./Story.ts"
import * as Telling from "./Telling.ts"

const flags = ["--json", "--browser", "--stay"]
const unknown = process.argv.slice(2).filter((flag) => !flags.includes(flag))
if (unknown.length > 0) {
  console.error(`usage: node tooling/demo/main.ts ${flags.map((flag) => `[${flag}]`).join(" ")}`)
  process.exit(2)
}
const [json, browser, stay] = flags.map((flag) => process.argv.includes(flag)) as [boolean, boolean, boolean]

const print = (text: string): void => json ? undefined : console.log(text)

const telling = Telling.make(({ millis, ok, ran, saw, step }, number) => {
  print(`${ok ? "ok  " : "FAIL"} ${String(number).padStart(2)}  ${step} (${millis} ms)`)
  if (ran !== undefined) print(`         $ ${ran}`)
  print(`         ${saw}`)
})

/** What a person types to go through it again. */
const invitation = (stage: Stage.Stage): string => {
  const run = `VALETKEY_HOME=${stage.home.data} node ${program}`
  return [
    "",
    `The authorization server:  ${stage.provider.issuer}  (any login and password pass)`,
    `The protected MCP server:  ${stage.resource.url}`,
    `Valetkey:                  ${stage.home.socket}`,
    "",
    `  ${run} connect ${stage.resource.url} --name ${Story.name}`,
    `  ${run} token ${Story.name}`,
    `  ${run} status ${Story.name}`,
    `  ${run} disconnect ${Story.name}`,
    "",
    "Everything runs until Ctrl-C."
  ].join("\n")
}

const demo = Effect.gen(function*() {
  const stage = yield* telling.step(
    "Everything starts",
    Effect.map(
      Stage.make({ chromium: browser, accessTokenTtlSeconds: 3 }),
      (stage) => [stage, { saw: `on 127.0.0.1, with its files in ${stage.home.data}` }] as const
    )
  )
  yield* Story.tell(stage, telling)
  if (stay) {
    console.error(invitation(stage))
    return yield* Effect.never
  }
  yield* Story.end(stage, telling)
}).pipe(Effect.scoped)

const started = performance.now()
const fiber = Effect.runFork(demo)
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => fiber.interruptUnsafe())
const exit = await Effect.runPromise(Fiber.await(fiber))

const interrupted = exit._tag === "Failure" && Cause.hasInterruptsOnly(exit.cause)
const passed = telling.steps.filter(({ ok }) => ok).length
let failed = telling.steps.length - passed
if (exit._tag === "Failure" && !interrupted && failed === 0) {
  // What no step foresaw is a failure that the steps do not know.
  failed = 1
  console.error(Cause.pretty(exit.cause))
}
if (json) {
  console.log(JSON.stringify({
    ok: exit._tag === "Success",
    passed,
    failed,
    millis: Math.round(performance.now() - started),
    steps: telling.steps
  }))
}
print(`\ndemo: ${passed} steps passed, ${failed} failed`)
process.exit(failed > 0 ? 1 : interrupted ? 130 : 0)
