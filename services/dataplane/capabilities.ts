// SPDX-License-Identifier: Apache-2.0
// Compares a node file with what its engine can do, before anything is opened: for the start of the dataplane and for
// `psp config check`. All faults are reported at once, each with its key, what the engine can do, and what the file asks
// for.
import type { EngineCapabilities } from '../../native/addon/engine.js';
import { familyOf, parsePrefix } from '../shared/address.js';
import { type Fault, formatFault, type NodeConfig, versionsWith } from '../shared/config/config.js';
import { PspError } from '../shared/errors.js';
import { spisPerFlow } from '../shared/limits.js';
import { modes } from '../shared/modes.js';
import { samplePoints } from '../shared/samples/sample_points.js';

const list = (values: readonly (string | number)[]): string =>
  values.length === 0 ? 'nothing' : values.join(' or ');

const noCopies = 'nothing, as the engine takes no copies there';

/** @throws PspError ENGINE_MISSING when the engine that the node file names is not built in. */
export function checkKind({ files, engine }: NodeConfig, engines: readonly string[]): void {
  if (engines.includes(engine.kind)) return;
  throw new PspError('ENGINE_MISSING', {
    file: files.config,
    kind: engine.kind,
    engines: engines.join(', '),
  });
}

/** @throws PspError ENGINE_UNSUPPORTED, which lists all that the engine cannot do. */
export const checkCapabilities = (config: NodeConfig, can: EngineCapabilities): void =>
  demandNone(faultsOf(config, can), config);

/** @throws PspError ENGINE_UNSUPPORTED when the engine cannot sample at a point of the node file. */
export const checkSampling = (config: NodeConfig, can: EngineCapabilities): void =>
  demandNone(samplingFaults(config, can), config);

function demandNone(faults: readonly Fault[], config: NodeConfig): void {
  if (faults.length === 0) return;
  throw new PspError('ENGINE_UNSUPPORTED', {
    file: config.files.config,
    kind: config.engine.kind,
    faults: faults.map(formatFault).join('\n'),
  });
}

/** What the node file asks for beyond these capabilities, in the order of the file's sections. */
export function faultsOf(config: NodeConfig, can: EngineCapabilities): Fault[] {
  const faults: Fault[] = [];
  const ask = (path: string, possible: boolean, expected: string, received: unknown) => {
    if (!possible) faults.push({ path, expected, received: String(received) });
  };
  const atMost = (path: string, most: number, received: number) =>
    ask(path, received <= most, `at most ${most}`, received);
  const family = (path: string, families: readonly number[], prefix: string) =>
    ask(
      path,
      families.includes(familyOf(parsePrefix(prefix).address)),
      families.length === 0 ? 'no prefix' : `an IPv${families.join(' or IPv')} prefix`,
      prefix,
    );
  const captures = (path: string, point: number) =>
    ask(path, can.samplePoints.includes(point), noCopies, true);

  const { unsecured, secured, vips, peers, versions, engine, sampling, capture } = config;
  for (const [i, gateway] of unsecured.gateway.entries())
    family(`unsecured.gateway[${i}]`, can.inner, gateway);
  family('secured.address', can.outer, secured.address);
  for (const [i, vip] of vips.entries()) family(`vips[${i}]`, can.inner, vip);
  for (const [name, peer] of Object.entries(peers)) {
    const possible = Object.entries(modes).flatMap(([mode, n]) => (can.modes.includes(n) ? [mode] : []));
    for (const [i, vip] of peer.vips.entries()) family(`peers.${name}.vips[${i}]`, can.inner, vip);
    ask(`peers.${name}.mode`, possible.includes(peer.mode), list(possible), peer.mode);
    atMost(`peers.${name}.cryptOffset`, can.cryptOffset, peer.cryptOffset);
    const spoken = versionsWith(versions, peer);
    const expected = `false, as the engine has PSP versions ${list(can.versions)} only`;
    ask(
      `peers.${name}.authOnly`,
      !peer.authOnly || spoken.every((v) => can.versions.includes(v)),
      expected,
      true,
    );
  }
  for (const [i, version] of versions.entries()) {
    ask(`versions[${i}]`, can.versions.includes(version), list(can.versions), version);
  }
  atMost('engine.lcores', can.lcores, engine.lcores);
  atMost('engine.maxFlows', can.maxFlows, engine.maxFlows);
  const enough = can.spisPerFlow >= spisPerFlow;
  ask('engine.kind', enough, `an engine with ${spisPerFlow} receive SPIs for each flow`, engine.kind);
  const rates = [sampling.egressLog2, ...Object.values(peers).map((peer) => peer.sampling)];
  if (rates.some((rate) => typeof rate === 'number')) faults.push(...samplingFaults(config, can));
  if (capture.ingress) captures('capture.ingress', samplePoints.ingressFailed);
  if (capture.egress) captures('capture.egress', samplePoints.egressFailed);
  return faults;
}

/** The sampling points of the node file that the engine does not have, whether or not packets are sampled now. */
function samplingFaults({ sampling }: NodeConfig, can: EngineCapabilities): Fault[] {
  const points = { sealed: samplePoints.egressSealed, plain: samplePoints.egressPlain };
  return sampling.points.flatMap((point, i) =>
    can.samplePoints.includes(points[point])
      ? []
      : [{ path: `sampling.points[${i}]`, expected: noCopies, received: point }],
  );
}
