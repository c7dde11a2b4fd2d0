import { Effect, type Scope } from "effect"
import { existsSync } from "node:fs"
import { mkdir, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core"

/** A real browser and the person in front of it. */
export interface Chromium {
  readonly browser: Browser
  /** A person with cookies of their own; closes with the scope. */
  readonly person: Effect.Effect<Person, never, Scope.Scope>
}

/** One browser profile. */
export interface Person {
  readonly context: BrowserContext
  readonly page: Page
  /** Opens a URL and plays every login and consent form until `done` holds; returns the page that is then shown. */
  authorize(
    url: string | URL,
    options: { readonly done: (url: URL) => boolean; readonly deny?: boolean; readonly login?: string }
  ): Effect.Effect<Page>
}

/** Keeps what a page looks like, outside of the repository: in `VALETKEY_SCREENSHOTS`, or with temporary files. */
export const keepScreenshot = (page: Page, name: string): Promise<unknown> =>
  page.screenshot({
    path: join(process.env["VALETKEY_SCREENSHOTS"] ?? join(tmpdir(), "valetkey-screenshots"), `${name}.png`),
    fullPage: true
  })

// The browser must not reach for hosts of its own while a test watches what leaves the machine.
const flags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-dev-shm-usage",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-default-apps",
  "--disable-sync",
  "--disable-domain-reliability",
  "--no-pings",
  "--no-zygote",
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"
]

/** Launches an installed Chromium, or the one from npm, without a window until the scope closes. */
export const make: Effect.Effect<Chromium, never, Scope.Scope> = Effect.acquireRelease(
  Effect.promise(async () =>
    chromium.launch({
      executablePath: await executable(),
      args: flags,
      headless: true,
      // A signal ends the program in its own order; the scope closes the browser.
      handleSIGINT: false,
      handleSIGTERM: false
    })
  ),
  (browser) => Effect.promise(() => browser.close())
).pipe(
  Effect.map((browser) => ({
    browser,
    person: Effect.acquireRelease(
      Effect.promise(() => browser.newContext()),
      (context) => Effect.promise(() => context.close())
    ).pipe(
      Effect.flatMap((context) =>
        Effect.promise(async (): Promise<Person> => {
          const page = await context.newPage()
          return { context, page, authorize: (url, options) => Effect.promise(() => play(page, url, options)) }
        })
      )
    )
  }))
)

const installed = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]

const executable = async (): Promise<string> => {
  const configured = process.env["VALETKEY_CHROMIUM"] ?? installed.find((path) => existsSync(path))
  if (configured !== undefined) return configured
  // The package unpacks 200 MB into a shared place and takes a half-written file of a neighbour for a whole one.
  return exclusively(async () => (await import("@sparticuz/chromium")).default.executablePath())
}

const exclusively = async <A>(task: () => Promise<A>): Promise<A> => {
  const lock = join(tmpdir(), "valetkey-chromium.lock")
  const deadline = Date.now() + 30_000
  for (;;) {
    const held = await mkdir(lock).then(() => true, () => false)
    // A lock that outlives the deadline belongs to a process that died.
    if (held || Date.now() > deadline) break
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  try {
    return await task()
  } finally {
    await rm(lock, { recursive: true, force: true })
  }
}

const play = async (
  page: Page,
  url: string | URL,
  options: { readonly done: (url: URL) => boolean; readonly deny?: boolean; readonly login?: string }
): Promise<Page> => {
  const arrived = page.waitForURL((at) => options.done(at), { waitUntil: "load", timeout: 20_000 })
  // The forms below may fail first; the failure is then theirs.
  arrived.catch(() => undefined)
  await page.goto(String(url), { waitUntil: "load" })
  for (let pages = 0; pages < 10 && !options.done(new URL(page.url())); pages++) {
    const at = page.url()
    if (options.deny === true && (await page.getByRole("link", { name: /cancel|deny/i }).count()) > 0) {
      await page.getByRole("link", { name: /cancel|deny/i }).first().click()
    } else {
      const login = page.locator("input[name=login]")
      if (await login.count() > 0) {
        await login.fill(options.login ?? "alice")
        await page.locator("input[type=password]").fill("correct horse")
      }
      await page.locator("form[method=post] [type=submit], form[method=POST] [type=submit]").first().click()
    }
    await page.waitForURL((next) => next.href !== at, { waitUntil: "load", timeout: 20_000 })
  }
  await arrived
  return page
}
