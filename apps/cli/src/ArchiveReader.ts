import { repeatsName } from "@valetkey/api/RepeatedNames"
import { Archive, type ArchivedConnection } from "@valetkey/domain/Archive"
import { archiveFormat, archiveVersion, maxArchive } from "@valetkey/domain/ArchiveLimits"
import { AgeFileError, type AgeKey, open } from "@valetkey/keyring/AgeFile"
import { Result, Schema, SchemaIssue } from "effect"
import type { CliCode } from "./CliFailure.ts"
import { plain } from "./Output.ts"

// Imported on demand: age and the schema of archives are for an import and for nothing else.

/** A connection of an archive as its document holds it, checked. */
export type Archived = typeof ArchivedConnection.Encoded

/** What an archive holds, or why it holds nothing for us. The sentence quotes nothing of it. */
export type Reading =
  | { readonly _tag: "Read"; readonly connections: ReadonlyArray<Archived> }
  | { readonly _tag: "Refused"; readonly code: CliCode; readonly sentence: string }

/** Opens a sealed archive and reads its document. */
export const readSealed = async (bytes: Uint8Array, key: AgeKey): Promise<Reading> => {
  let document: Uint8Array
  try {
    document = await open(bytes, key)
  } catch (error) {
    return error instanceof AgeFileError ? notOpened(error, key) : refused("archive_damaged", damaged)
  }
  return readDocument(document)
}

/** Reads the document of an archive. */
export const readDocument = (bytes: Uint8Array): Reading => {
  if (bytes.byteLength > maxArchive) {
    return refused("archive_too_large", "The archive is larger than any that Valetkey writes; split it")
  }
  let text: string
  let value: unknown
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes)
    value = JSON.parse(text)
  } catch {
    return refused("archive_invalid", "The document is not JSON in UTF-8; export again, or mend the document")
  }
  if (typeof value !== "object" || value === null || !("format" in value) || value.format !== archiveFormat) {
    return refused(
      "archive_invalid",
      `The document is no archive of Valetkey: its "format" must be "${archiveFormat}"`
    )
  }
  if (!("version" in value) || value.version !== archiveVersion) {
    return refused(
      "archive_version_unknown",
      `The archive is of a version that this command does not read; it reads version ${archiveVersion}`
    )
  }
  if (repeatsName(text)) {
    return refused("archive_invalid", "The document names a property twice, so that nobody can tell which is meant")
  }
  const decoded = decode(value, { onExcessProperty: "error", errors: "all" })
  if (Result.isFailure(decoded)) {
    return refused("archive_invalid", `The document is not what an archive holds; look at ${placesOf(decoded.failure)}`)
  }
  const { connections } = value as typeof Archive.Encoded
  return connections.length === 0
    ? refused("archive_empty", "The archive holds no connection; there is nothing to import")
    : { _tag: "Read", connections }
}

const decode = Schema.decodeUnknownResult(Archive)

/** Where the faults are, never what stands there. */
const placesOf = ({ issue }: Schema.SchemaError): string =>
  [...new Set(format(issue).issues.map(({ path }) => (path ?? []).map(segment).join(".")))].slice(0, 5).join(", ")

const format = SchemaIssue.makeFormatterStandardSchemaV1()

/** A name that somebody made up is cut, and loses what a terminal obeys. */
const segment = (part: PropertyKey | { readonly key: PropertyKey }): string =>
  plain(String(typeof part === "object" ? part.key : part).slice(0, 64))

const refused = (code: CliCode, sentence: string): Reading => ({ _tag: "Refused", code, sentence })

const damaged = "The archive was cut off or altered; nothing of it is used, take another copy"

const notOpened = ({ fault }: AgeFileError, key: AgeKey): Reading => {
  switch (fault) {
    case "not_age":
      return refused("archive_unknown", "The file is no age file; a plaintext document needs --format json")
    case "invalid_identity":
      return refused(
        "identity_invalid",
        "The identity file holds something that is no age identity; each line begins with AGE-SECRET-KEY-"
      )
    case "damaged":
      return refused("archive_damaged", damaged)
    case "wrong_key":
      return key._tag === "Passphrase"
        ? refused(
          "passphrase_wrong",
          "The passphrase does not open the archive; if it was sealed to a recipient, give --identity-file"
        )
        : refused(
          "identity_wrong",
          "No identity of the file opens the archive; if it was sealed to a passphrase, give --passphrase-file"
        )
  }
}
