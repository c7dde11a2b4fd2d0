import { Deferred, Effect } from "effect"
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { failure } from "./CliFailure.ts"

/**
 * Opens a URL in the person's browser: one executable, one argument, no shell. The URL is re-serialised and only http
 * and https pass, so nothing that a provider chose can be read as an option, a command or a file. What it gives completes
 * if the opener says later that it could open nothing, as it does on a machine without a browser.
 */
export const open = (target: string) => Effect.flatMap(webUrl(target), launch)

/**
 * Opens a URL that is a secret. Every user of a machine reads the arguments of its processes, so the browser gets a page in
 * the directory that leads on to the URL and that only this user reads. It is there until the scope closes.
 */
export const openUnseen = (target: string, directory: string) =>
  Effect.gen(function*() {
    const url = yield* webUrl(target)
    const path = join(directory, `open-${process.pid}.html`)
    yield* Effect.acquireRelease(
      Effect.try({
        try: () => {
          mkdirSync(directory, { recursive: true, mode: 0o700 })
          // What a killed process of the same number has left.
          rmSync(path, { force: true })
          writeFileSync(path, pageTo(url), { flag: "wx", mode: 0o600 })
        },
        catch: () => failure("browser_unavailable", notOpened)
      }),
      () => Effect.ignore(Effect.try(() => rmSync(path, { force: true })))
    )
    return yield* launch(pathToFileURL(path))
  })

/** What a person is told when nothing opens a URL. */
export const notOpened = "No browser could be opened; open the URL yourself"

const webUrl = (target: string) => {
  const url = URL.parse(target)
  return url !== null && (url.protocol === "https:" || url.protocol === "http:")
    ? Effect.succeed(url)
    : Effect.fail(failure("browser_unavailable", "The URL is not an http or https URL; it was not opened"))
}

const pageTo = ({ href }: URL): string => {
  const url = href.replaceAll("&", "&amp;").replaceAll("\"", "&quot;").replaceAll("<", "&lt;").replaceAll("'", "&#39;")
  return `<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>Valetkey</title>` +
    `<meta http-equiv="refresh" content="0; url=${url}"><a href="${url}">Valetkey</a>\n`
}

const launch = (url: URL) =>
  Effect.gen(function*() {
    const [file, ...before] = opener(process.env["BROWSER"])
    const { spawn } = yield* Effect.promise(() => import("node:child_process"))
    const refused = Deferred.makeUnsafe<void>()
    yield* Effect.callback<void, ReturnType<typeof failure>>((resume) => {
      const child = spawn(file, [...before, url.href], {
        shell: false,
        detached: true,
        stdio: "ignore",
        windowsVerbatimArguments: false,
        env: {
          ...process.env,
          VALETKEY_TOKEN: undefined,
          VALETKEY_KEYS: undefined,
          VALETKEY_KEYS_WRAPPED: undefined,
          VALETKEY_JWT_SECRET: undefined,
          DATABASE_URL: undefined,
          OTEL_EXPORTER_OTLP_HEADERS: undefined
        }
      })
      child.on(
        "error",
        () => resume(Effect.fail(failure("browser_unavailable", notOpened)))
      )
      child.on("exit", (code) => {
        if (code !== null && code !== 0) Deferred.doneUnsafe(refused, Effect.void)
      })
      child.on("spawn", () => {
        child.unref()
        resume(Effect.void)
      })
    })
    return Deferred.await(refused)
  })

/** The program that opens a URL: BROWSER as the path of an executable, else that of the platform. */
const opener = (browser: string | undefined): readonly [string, ...ReadonlyArray<string>] => {
  if (browser !== undefined && browser !== "") return [browser]
  if (process.platform === "darwin") return ["open"]
  // Without a shell there is no metacharacter to escape, unlike `cmd /c start`.
  if (process.platform === "win32") return ["rundll32", "url.dll,FileProtocolHandler"]
  return ["xdg-open"]
}
