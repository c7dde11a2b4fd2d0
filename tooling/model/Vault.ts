import { Cipher, CipherError } from "@valetkey/domain/Cipher"
import { Digest, Entropy } from "@valetkey/domain/Entropy"
import type { SealContext } from "@valetkey/domain/Sealed"
import { Sealed } from "@valetkey/domain/Sealed"
import { Effect, Redacted } from "effect"
import { hash } from "node:crypto"

/**
 * A cipher that keeps what it seals and gives out a number for it. It refuses every context but that of the sealing, as the
 * real one does; whether that one keeps secrets is proven elsewhere, and here it would cost more than a whole history.
 */
export class Vault {
  #kept: Array<readonly [SealContext, string]> = []

  readonly cipher = Cipher.of({
    seal: (context, plaintext) =>
      Effect.sync(() => {
        const number = this.#kept.push([context, Redacted.value(plaintext)]) - 1
        return Sealed.make(Uint8Array.of(number >> 16, number >> 8 & 255, number & 255))
      }),
    open: (context, sealed) =>
      Effect.suspend(() => {
        const [of, text] = this.#find(sealed) ?? []
        return of !== undefined && text !== undefined && of.table === context.table && of.tenant === context.tenant &&
            of.row === context.row && of.field === context.field && of.generation === context.generation
          ? Effect.succeed(Redacted.make(text))
          : Effect.fail(new CipherError({ code: "integrity_error" }))
      })
  })

  /** What is sealed, for whoever judges. */
  reveal(sealed: Uint8Array | undefined): string | undefined {
    return sealed && this.#find(sealed)?.[1]
  }

  empty(): void {
    this.#kept = []
  }

  #find(sealed: Uint8Array) {
    return sealed.length === 3 ? this.#kept[(sealed[0]! << 16) + (sealed[1]! << 8) + sealed[2]!] : undefined
  }
}

/** Chance that a seed repeats: every value is a number that was not used, as wide as what the real one gives. */
export const entropyOf = (next: () => number) => {
  const digestOf = (text: string) => Digest.make(hash("sha256", text, "base64url"))
  return Entropy.of({
    secret: Effect.sync(() => Redacted.make(`secret-${next()}`.padEnd(43, "-"))),
    signingKey: Effect.die("no client of the model signs"),
    id: Effect.sync(() => `00000000-0000-7000-8000-${next().toString(16).padStart(12, "0")}`),
    digest: (secret) => digestOf(Redacted.value(secret)),
    digestOf
  })
}
