import type { Principal } from "@valetkey/api/Principal"
import { Context, type Effect, type Redacted, Schema } from "effect"

/** Error of a credential that proves nothing. Why stays in the log. */
export class Unauthorized extends Schema.TaggedError<Unauthorized>("valetkey/Unauthorized")("Unauthorized", {
  code: Schema.Literals(["unauthorized", "authentication_unavailable"])
}) {
  override get message() {
    return this.code === "unauthorized"
      ? "A valid credential is needed; send it as Authorization: Bearer"
      : "Credentials cannot be verified right now; check that the key set and the store are reachable, then retry"
  }
}

/** Port: who a credential belongs to. */
export class Authenticator extends Context.Service<Authenticator, {
  /** Verifies a bearer credential. Every kind of refusal is the same `unauthorized`. */
  authenticate(credential: Redacted.Redacted): Effect.Effect<Principal, Unauthorized>
  /** The principal of a credential that was verified a moment ago and would be again; undefined when it must be verified. */
  remembered(credential: string): Principal | undefined
}>()("@valetkey/http/Authenticator") {}
