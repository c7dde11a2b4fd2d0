import * as Chromium from "@valetkey/testing/Chromium"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Fiber, Queue, type Scope } from "effect"
import { writeFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"

/** A person whose browser is what `valetkey` finds in `BROWSER`. */
export interface Person {
  /** The executable to put into `BROWSER`. */
  readonly browser: string
  /** Plays the next URL that is opened, to its last page; returns what the page tells. */
  readonly consent: Effect.Effect<string>
}

/** Makes a person who logs in and consents, without a screen or in a real Chromium, until the scope closes. */
export const make = (
  options: { readonly directory: string; readonly chromium: boolean }
): Effect.Effect<Person, never, Scope.Scope> =>
  Effect.gen(function*() {
    const opened = yield* Queue.unbounded<string>()
    const play = yield* options.chromium ? inChromium : Effect.succeed(headless)
    const desk = yield* listen((url) => void Queue.offerUnsafe(opened, url))
    const browser = join(options.directory, "browser")
    // What a desktop's opener is: an executable that hands its one argument to a browser that runs already.
    writeFileSync(
      browser,
      `#!${process.execPath}\nrequire("node:http").request("${desk}", { method: "POST" }).end(process.argv[2])\n`,
      { mode: 0o700 }
    )
    return { browser, consent: Effect.flatMap(Queue.take(opened), play) }
  })

/** Runs what waits for the person beside the person, and returns both ends. */
export const during = <A, E, R>(
  person: Person,
  waiting: Effect.Effect<A, E, R>
): Effect.Effect<readonly [A, string], E, R> =>
  Effect.gen(function*() {
    const consenting = yield* Effect.forkChild(person.consent)
    const end = yield* waiting
    return [
      end,
      yield* Fiber.join(consenting).pipe(Effect.timeoutOrElse({
        duration: "5 seconds",
        orElse: () => Effect.succeed("no page was shown")
      }))
    ] as const
  })

const headless = (url: string): Effect.Effect<string> =>
  UserAgent.make().authorize(url).pipe(
    Effect.map(({ body }) => sentence(body)),
    Effect.catch((error) => Effect.succeed(error.message))
  )

const inChromium = Effect.gen(function*() {
  const chromium = yield* Chromium.make
  const person = yield* chromium.person
  return (url: string): Effect.Effect<string> => {
    const redirectUri = new URL(url).searchParams.get("redirect_uri") ?? ""
    return person.authorize(url, { done: ({ href }) => href.startsWith(redirectUri) }).pipe(
      Effect.flatMap((page) => Effect.promise(() => page.content())),
      Effect.map(sentence)
    )
  }
})

/** The heading of a page in plain words. */
const sentence = (html: string): string =>
  (/<h1[^>]*>([\s\S]*?)<\/h1>/.exec(html) ?? /<title>([\s\S]*?)<\/title>/.exec(html))?.[1]?.replace(/<[^>]+>/g, "")
    .trim() ?? "an empty page"

const listen = (onUrl: (url: string) => void): Effect.Effect<string, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<ReturnType<typeof createServer>>((resume) => {
      const server = createServer((request, response) => {
        let url = ""
        request.setEncoding("utf8").on("data", (text: string) => url += text)
        request.once("end", () => {
          response.end()
          onUrl(url)
        })
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  ).pipe(Effect.map((server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}/`))
