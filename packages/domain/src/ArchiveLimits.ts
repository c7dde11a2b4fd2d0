/** What the first member of every archive says. */
export const archiveFormat = "valetkey.archive"

/** The version of archives that is written, and the only one that is read. */
export const archiveVersion = 1

/** The most bytes that the document of an archive has. */
export const maxArchive = 4 * 1024 * 1024

/** The bounds of an archive's passphrase in characters: its work factor does not make up for a short one. */
export const passphraseLength = { minimum: 10, maximum: 1024 } as const
