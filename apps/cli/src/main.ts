import { fast } from "./fast.ts"

// The one command that programs run many times a day answers before anything else is loaded.
fast(process.argv.slice(2)).then((code) => {
  if (code !== undefined) process.exitCode = code
  else return whole()
})

const whole = async (): Promise<void> => {
  const { enableCompileCache } = await import("node:module")
  // Worth its own time for a large file alone.
  enableCompileCache?.()
  const { main } = await import("./Cli.ts")
  main()
}
