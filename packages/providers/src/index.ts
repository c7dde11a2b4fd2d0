export * as Expansion from "./Expansion.ts"
export * as Preset from "./Preset.ts"
export * as PresetLint from "./PresetLint.ts"
export * as Presets from "./Presets.ts"
