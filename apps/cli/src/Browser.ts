import { Deferred, Effect } from "effect"
import { failure } from "./CliFailure.ts"

/**
 * Opens a URL in the person's browser: one executable, one argument, no shell. The URL is re-serialised and only http
 * and https pass, so nothing that a provider chose can be read as an option, a command or a file. What it gives completes
 * if the opener says later that it could open nothing, as it does on a machine without a browser.
 */
export const open = (target: string) =>
  Effect.gen(function*() {
    const url = URL.parse(target)
    if (url === null || (url.protocol !== "https:" && url.protocol !== "http:")) {
      return yield* failure(
        "browser_unavailable",
        "The authorization URL is not an http or https URL; it was not opened"
      )
    }
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

/** What a person is told when nothing opens a URL. */
export const notOpened = "No browser could be opened; open the URL yourself"

/** The program that opens a URL: BROWSER as the path of an executable, else that of the platform. */
const opener = (browser: string | undefined): readonly [string, ...ReadonlyArray<string>] => {
  if (browser !== undefined && browser !== "") return [browser]
  if (process.platform === "darwin") return ["open"]
  // Without a shell there is no metacharacter to escape, unlike `cmd /c start`.
  if (process.platform === "win32") return ["rundll32", "url.dll,FileProtocolHandler"]
  return ["xdg-open"]
}
