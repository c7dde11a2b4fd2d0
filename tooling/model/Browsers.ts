import { CallbackReceived } from "@valetkey/domain/Authorization"
import type { AuthorizationRequest } from "@valetkey/domain/AuthorizationServer"
import type { FlowOwner } from "@valetkey/domain/Flows"
import { Redacted, Result } from "effect"
import type { Step } from "./Script.ts"

/** A browser that was sent to the provider, and the code that it comes back with. */
interface Browser {
  readonly owner: FlowOwner
  readonly state: string
  readonly context: string
  readonly code: string
}

/** The browsers of one history, in the order in which their flows began. */
export class Browsers {
  readonly #requests: Array<{ readonly state: string; readonly redirectUri: string }> = []
  readonly #browsers: Array<Browser> = []

  authorizationUrl({ redirectUri, state }: AuthorizationRequest): Redacted.Redacted {
    const number = this.#requests.push({ redirectUri, state: Redacted.value(state) }) - 1
    return Redacted.make(`https://as.example/authorize?request=${number}`)
  }

  /** A browser leaves for the provider, where its person will get a code. */
  leave(owner: FlowOwner, authorizationUrl: Redacted.Redacted, code: string): void {
    const request = this.#requests[Number(new URL(Redacted.value(authorizationUrl)).searchParams.get("request"))]!
    this.#browsers.push({
      owner,
      state: request.state,
      context: request.redirectUri.slice(request.redirectUri.lastIndexOf("/") + 1),
      code
    })
  }

  at(which: number): Browser | undefined {
    return this.#browsers[which % Math.max(1, this.#browsers.length)]
  }

  get last(): Browser | undefined {
    return this.#browsers.at(-1)
  }
}

/** What a browser brings back, and where it brings it. */
export const responseOf = (
  { code, context, state }: Browser,
  how: Step["back"]
): { readonly received: CallbackReceived; readonly context: string } => ({
  received: Result.getOrThrow(CallbackReceived.parse(
    new URLSearchParams({
      state: how === "strange" ? "junk" : state,
      iss: how === "misled" ? "https://evil.example" : "https://as.example",
      ...(how === "denied" ? { error: "access_denied" } : { code })
    })
  )),
  context: how === "elsewhere" ? "another" : context
})
