// SPDX-License-Identifier: Apache-2.0
// `psp pipeline trace FILE`: what each pipe does to each frame of a capture, with the real pipes, without a running
// node, privileges or hugepages. The node file configures the gateway; docs/trace.md explains the options that
// replace its environment. JSON: docs/schemas/pipeline_trace.json.
import { closeSync } from 'node:fs';
import type { Command } from 'commander';
import { loadAddon } from '../../native/addon/load.js';
import type { CaptureTrace, TraceOptions } from '../../native/addon/trace.js';
import { engineSettings } from '../../services/dataplane/config.js';
import { bypassRule } from '../../services/shared/config/bypass.js';
import { loadConfig, type NodeConfig, versionsWith } from '../../services/shared/config/config.js';
import { print, printJson } from '../output.js';
import { captureError, openCapture } from './capture_file.js';
import { keysAreSeen } from './pcap_options.js';
import { addTraceOptions, keysOf, portsOf, type TraceArguments } from './trace_options.js';
import { traceReportOf } from './trace_steps.js';
import { traceText } from './trace_text.js';

export function addTrace(pipeline: Command): void {
  addTraceOptions(
    pipeline
      .command('trace <file>')
      .description('show what each pipe does to each frame of a capture, without a running node'),
  )
    .addHelpText('after', keysAreSeen)
    .action((file: string, _, command: Command) => trace(file, command.optsWithGlobals(), command));
}

async function trace(file: string, options: TraceArguments, command: Command): Promise<void> {
  const config = loadConfig(options.config, process.env);
  const ports = portsOf(options, config, command);
  const keys = keysOf(options, config, command);
  const found = await traceFile(file, config, { ...ports, ...keys, limit: options.limit });
  const { port, unsecuredMtu, securedMtu } = ports;
  const report = traceReportOf(found, {
    node: config.node,
    port,
    peers: Object.keys(config.peers),
    bypass: config.bypass.map(bypassRule),
    dropReasons: loadAddon().dropReasons,
  });
  const about = { file, format: found.format, node: config.node, port, unsecuredMtu, securedMtu };
  if (options.json) printJson({ ...about, ...report });
  else print(traceText({ ...about, ...report }));
}

const unreadable = 'name a readable capture';

type How = Omit<TraceOptions, 'input' | 'engine' | 'versions'>;

/**
 * Runs the frames of a capture through the pipes of a node. Wipes the keys.
 * @throws PspError FILE_UNREADABLE, CAPTURE_MALFORMED, ENGINE_FAILED.
 */
export async function traceFile(file: string, config: NodeConfig, how: How): Promise<CaptureTrace> {
  try {
    const input = openCapture(file, unreadable);
    try {
      const versions = Object.values(config.peers).map((peer) => versionsWith(config.versions, peer));
      return await loadAddon().traceCapture({ ...how, input, versions, engine: engineSettings(config) });
    } catch (error) {
      throw captureError(error, file, unreadable);
    } finally {
      closeSync(input);
    }
  } finally {
    how.masterKeys?.fill(0);
  }
}
