import { Context, type Effect, type Redacted, Schema } from "effect"

/** Who may open an archive: the holder of the identity behind an age recipient, or who knows the passphrase. */
export type ArchiveRecipient =
  | { readonly _tag: "Recipient"; readonly recipient: string }
  | { readonly _tag: "Passphrase"; readonly passphrase: Redacted.Redacted }

/** Error of a recipient that is none. Nothing was encrypted. */
export class RecipientInvalid
  extends Schema.TaggedError<RecipientInvalid>("valetkey/RecipientInvalid")("RecipientInvalid", {})
{
  readonly code = "recipient_invalid" as const
  override get message() {
    return "The recipient is no age recipient; give the whole line that begins with age1, as age-keygen prints it"
  }
}

/** Port: encryption of an archive for somebody outside of this installation. Its keys have nothing to do with the root keys. */
export class ArchiveSealer extends Context.Service<ArchiveSealer, {
  /** Encrypts for one recipient and nobody else. What comes back holds no byte of the document in the clear; two calls never give the same. */
  seal(document: Redacted.Redacted, to: ArchiveRecipient): Effect.Effect<Uint8Array, RecipientInvalid>
}>()("@valetkey/domain/ArchiveSealer") {}
