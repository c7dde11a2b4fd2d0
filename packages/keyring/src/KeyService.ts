import { type Effect, Schema } from "effect"

/** Failure of the service that holds the key over the root keys. It quotes nothing that was sent or answered. */
export class KeyServiceError extends Schema.TaggedError<KeyServiceError>("valetkey/KeyServiceError")(
  "KeyServiceError",
  {
    problem: Schema.Literals([
      "address_refused",
      "denied",
      "failed",
      "interrupted",
      "late",
      "limited",
      "malformed",
      "not_a_key",
      "not_found",
      "redirected",
      "rejected",
      "sealed",
      "token_unreadable",
      "unreachable"
    ])
  }
) {
  get code(): `key_service_${KeyServiceError["problem"]}` {
    return `key_service_${this.problem}`
  }
  override get message() {
    return `The key service ${sentences[this.problem]}`
  }
}

const sentences = {
  address_refused: "may not be called at this address. Check VALETKEY_VAULT_ADDR.",
  denied: "refuses the token. Check that it is alive and that its policy allows update on the decrypt path.",
  failed: "answered with an error of its own. Look into its log.",
  interrupted: "ended the connection before its answer was complete. Check it and the network to it.",
  late: "did not answer in time. Check it and the network to it.",
  limited: "refuses more requests for now. Check its rate limit.",
  malformed: "did not answer as a transit engine does. Check VALETKEY_VAULT_ADDR and VALETKEY_VAULT_MOUNT.",
  not_a_key: "unwrapped something that is not a random key of 32 bytes. Make one with `valetkey keys add`.",
  not_found: "has no transit engine at this path. Check VALETKEY_VAULT_MOUNT and VALETKEY_VAULT_NAMESPACE.",
  redirected: "answered with a redirect, which is not followed. Set VALETKEY_VAULT_ADDR to the node that answers.",
  rejected:
    "does not take a key. Check VALETKEY_VAULT_KEY, VALETKEY_VAULT_CONTEXT, and that every entry is whole and of this key.",
  sealed: "is sealed or in maintenance. Unseal it.",
  token_unreadable:
    "was not asked: there is no token. VALETKEY_VAULT_TOKEN_FILE must be a file of this user with mode 0600, where nobody else can write.",
  unreachable: "could not be reached. Check VALETKEY_VAULT_ADDR and that it runs."
} as const

/** A service that wraps root keys under a key that never leaves it. */
export interface KeyService {
  /** Unwraps a key. The bytes belong to the caller, who overwrites them. Asks anew at every call. */
  unwrap(wrapped: string): Effect.Effect<Buffer, KeyServiceError>
  /** Makes a random key of 32 bytes and wraps it, so that nobody has seen it. It is stored nowhere but in the result. */
  readonly create: Effect.Effect<string, KeyServiceError>
}

/** Whether a text is a wrapped key, as a transit engine gives it: the version of its key, and base64. */
export const isWrapped = (text: string): boolean =>
  text.length <= 8192 && /^vault:v[1-9]\d{0,8}:[A-Za-z0-9+/]+={0,2}$/.test(text)
