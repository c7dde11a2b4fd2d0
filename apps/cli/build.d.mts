/** Bundles the command into a directory. */
export const bundle: (outdir: string) => Promise<void>
