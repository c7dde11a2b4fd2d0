import { Effect, Schema } from "effect"
import { CookieJar } from "./internal/cookieJar.ts"
import { denial, forms, submission } from "./internal/htmlForm.ts"

/** The person cannot go on: a page without a way forward, too many pages, or a connection that failed. */
export class UserAgentStuck extends Schema.TaggedError<UserAgentStuck>("valetkey/testing/UserAgentStuck")(
  "UserAgentStuck",
  { reason: Schema.String, trail: Schema.Array(Schema.String) }
) {
  override get message() {
    return `${this.reason} after ${this.trail.join(" -> ")}`
  }
}

/** A page that was answered; redirects are pages too when they were not followed. */
export interface Page {
  readonly url: URL
  readonly status: number
  readonly headers: Headers
  readonly body: string
}

/** How the person behaves on the way. */
export interface Visit {
  /** Refuses on the first page that offers it. */
  readonly deny?: boolean
  /** What is typed into a form, by input name; `login` and `password` are filled anyway. */
  readonly answers?: Readonly<Record<string, string>>
}

/** A person with a browser of their own: one cookie jar, redirects, immediate refreshes, HTML forms, no scripts. */
export interface UserAgent {
  /** Plays the pages behind a URL until one without a form is answered: the callback or result page. */
  authorize(url: string | URL, visit?: Visit): Effect.Effect<Page, UserAgentStuck>
  /** Plays until a redirect to `redirectUri` and returns its URL without requesting it. */
  callbackUrl(url: string | URL, redirectUri: string | URL, visit?: Visit): Effect.Effect<URL, UserAgentStuck>
  /** Plays the pages of an origin until one leads to another origin, and returns that URL without requesting it. */
  leave(url: string | URL, visit?: Visit): Effect.Effect<URL, UserAgentStuck>
  /** Requests one URL with the cookies of the jar and follows nothing. */
  request(url: string | URL, init?: RequestInit): Effect.Effect<Page, UserAgentStuck>
  /** `METHOD origin/path status` of every request so far; queries carry secrets and are left out. */
  readonly trail: ReadonlyArray<string>
  readonly cookies: CookieJar
}

/** Where an answer sends a browser by itself: a redirect, or a refresh of another address at once. */
const onwardOf = ({ headers, status }: Page): string | undefined =>
  status >= 300 && status < 400
    ? headers.get("location") ?? undefined
    : /^0;\s*url=(.+)$/i.exec(headers.get("refresh") ?? "")?.[1]

/** Makes a person who logs in under the given name. */
export const make = (options: { readonly login?: string } = {}): UserAgent => {
  const cookies = new CookieJar()
  const trail: Array<string> = []
  const stuck = (reason: string) => new UserAgentStuck({ reason, trail: [...trail] })

  const request = (target: string | URL, init: RequestInit = {}) =>
    Effect.tryPromise({
      try: async (signal): Promise<Page> => {
        const url = new URL(target)
        const headers = new Headers({ accept: "text/html,*/*", "user-agent": "Mozilla/5.0 (person)" })
        for (const [name, value] of new Headers(init.headers)) headers.set(name, value)
        const cookie = cookies.header(url)
        if (cookie !== "") headers.set("cookie", cookie)
        const response = await fetch(url, { ...init, headers, redirect: "manual", signal })
        cookies.store(url, response.headers.getSetCookie())
        trail.push(`${init.method ?? "GET"} ${url.origin}${url.pathname} ${response.status}`)
        return { url, status: response.status, headers: response.headers, body: await response.text() }
      },
      catch: () => stuck(`No answer from ${new URL(target).origin}`)
    })

  /** Returns the URL of a redirect that `stop` accepts, or the first page without a form. */
  const play = Effect.fnUntraced(function*(start: string | URL, stop: (url: URL) => boolean, visit: Visit) {
    const answers = { login: options.login ?? "alice", password: "correct horse", ...visit.answers }
    let target = new URL(start)
    let init: RequestInit = {}
    let refused = false
    for (let pages = 0; pages < 30; pages++) {
      const page: Page = yield* request(target, init)
      const onward = onwardOf(page)
      if (onward !== undefined) {
        target = new URL(onward, page.url)
        init = {}
        if (stop(target)) return target
        continue
      }
      // Whoever refused leaves it at that, whatever the page then offers.
      if (refused) return page
      const refusal = visit.deny === true ? denial(page.body, page.url) : undefined
      refused = refusal !== undefined
      const form = refusal ?? forms(page.body, page.url).find(({ method }) => method === "POST")
      if (form === undefined) return page
      const next = submission(form, answers, page.url)
      target = next.url
      init = next.init
      if (stop(target)) return target
    }
    return yield* stuck("Too many pages")
  })

  const until = (url: string | URL, stop: (url: URL) => boolean, visit: Visit) =>
    play(url, stop, visit).pipe(
      Effect.flatMap((end) =>
        end instanceof URL ? Effect.succeed(end) : Effect.fail(stuck(`No way forward (status ${end.status})`))
      )
    )

  return {
    cookies,
    trail,
    request,
    authorize: (url, visit = {}) =>
      play(url, () => false, visit).pipe(
        Effect.flatMap((end) => end instanceof URL ? Effect.fail(stuck("No page")) : Effect.succeed(end))
      ),
    leave: (url, visit = {}) => until(url, ({ origin }) => origin !== new URL(url).origin, visit),
    callbackUrl: (url, redirectUri, visit = {}) => {
      const wanted = new URL(redirectUri)
      return until(url, ({ origin, pathname }) => origin === wanted.origin && pathname === wanted.pathname, visit)
    }
  }
}
