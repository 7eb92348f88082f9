// SPDX-License-Identifier: Apache-2.0
// Loads the native addon. Only services/dataplane/adapters/engine.ts, the offline tools of the CLI and
// `psp config check` call it.
import { createRequire } from 'node:module';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import type { EngineCounters, EngineOptions, NativeEngine } from './engine.js';
import type { TranscodeCounts, TranscodeOptions } from './pcap.js';
import type { CaptureTrace, TraceOptions } from './trace.js';

export interface Addon {
  /** The kinds of engines that were built in: engine.kind of the node file. */
  engines: string[];
  /** Whether libipsec-mb was built in and runs on this CPU: `engine.crypto: ipsec-mb`. */
  hasIpsecMb: boolean;
  Engine: new (options: EngineOptions) => NativeEngine;
  /**
   * Makes one capture file into another, off the JavaScript thread. Rejects with a `code` of
   * services/shared/errors.ts and its `data` but for the file; what was written until then is of no use.
   */
  pcapTranscode(options: TranscodeOptions): Promise<TranscodeCounts>;
  /**
   * Runs the frames of a capture file one by one through the pipes of a software engine without ports, off the
   * JavaScript thread. Rejects with a `code` of services/shared/errors.ts and its `data` but for the file.
   */
  traceCapture(options: TraceOptions): Promise<CaptureTrace>;
  /** The rows that each engine in `engines` reports: its counters before it starts. */
  engineCounters(): { kind: string; counters: EngineCounters }[];
  /** Names and causes as in native/engine/drop_reasons.h. */
  dropReasons: { name: string; direction: string; cause: string; remedy: string }[];
  /** Names and meanings as in native/engine/values.h. */
  values: { name: string; meaning: string }[];
  /** Names as in native/engine/pipe_names.h. */
  pipes: { name: string; guide: string; doca33: string }[];
}

/** Loads the addon. @throws Error that names the remedy when it was not built or a library is missing. */
export function loadAddon(): Addon {
  const path = fromPackageRoot('build/native/psp_addon.node');
  try {
    return createRequire(import.meta.url)(path) as Addon;
  } catch (cause) {
    throw new Error(`${path} cannot be loaded; run \`npm run build\` (${(cause as Error).message})`, {
      cause,
    });
  }
}
