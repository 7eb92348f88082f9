// SPDX-License-Identifier: Apache-2.0
// `psp status`: faults and their remedies first, then the packet counters. A service that does not answer is a health
// line too; the exit code is then 1. JSON: { node, ok, health: [{ part, message, sinceMs }], services: [{ name, id,
// version, startedMs }], dataplane, keyExchange: [...], sampler: [...], stats: [...] } with the fields of
// proto/bus.proto in camelCase; dataplane is null if it does not answer (docs/schemas/status.json).

import type { Command } from 'commander';
import type { Health, ServiceStatus, StatusQuery } from '../../proto/gen/bus.js';
import { formatEpoch } from '../../services/shared/address.js';
import type { Bus, Discovered } from '../../services/shared/bus/bus.js';
import type { NodeConfig } from '../../services/shared/config/config.js';
import { certificateHealth, certificateOf } from '../../services/shared/config/node_certificate.js';
import {
  type Contract,
  contracts,
  type RequestContract,
  type Service,
  serviceRow,
  services,
  statusContracts,
} from '../../services/shared/contracts.js';
import { PspError } from '../../services/shared/errors.js';
import { unixMs } from '../../services/shared/process/clock.js';
import { answerMs, asOperator, auditOf, type SharedOptions } from '../operator.js';
import { print, printJson, Reported } from '../output.js';
import { modeName } from '../terms.js';
import type { Answers, NodeStatus } from './node_status.js';
import { asText } from './status_text.js';

/** How long replicas may take to answer, and the first one of a service that is reachable but slow. */
const gatherMs = 400;
const timeoutMs = 2000;

const replicated = services.filter((service) => serviceRow(service).hasReplicas);

interface StatusOptions extends SharedOptions {
  counters?: true;
}

/** Defines the arguments and options of the command and what it does. */
export function define(command: Command): void {
  command
    .option('--counters', 'also show the counters of every service')
    .action((_, command: Command) => status(command.optsWithGlobals()));
}

async function status({ config, json, counters }: StatusOptions): Promise<void> {
  const node = await asOperator(config, async (bus, file) => {
    const [answers, audit] = await Promise.all([ask(bus, file), auditTrouble(file)]);
    return { ...answers, health: [...audit, ...answers.health] };
  });
  if (json) printJson(asJson(node));
  else print(asText(node, unixMs(), counters ?? false));
  if (silentServices(node).length > 0) throw new Reported();
}

/** Faults of the audit server. No service sends it requests that would reveal them. */
async function auditTrouble(config: NodeConfig): Promise<Health[]> {
  const auditFault = (message: string) => [{ part: 'audit', message, sinceMs: 0n }];
  const remedy = '`psp up` restarts it; see its log and the disk of stateDir';
  try {
    const stream = await auditOf(config);
    const answers = await stream.answers(timeoutMs).finally(() => stream.close());
    return answers ? [] : auditFault(`the audit server at ${config.audit.listen} does not answer; ${remedy}`);
  } catch (error) {
    if (!(error instanceof PspError)) throw error;
    return auditFault(`the audit server at ${config.audit.listen} cannot be reached; ${remedy}`);
  }
}

async function ask(bus: Bus, config: NodeConfig): Promise<NodeStatus> {
  const name = config.node;
  const awaited = new Set<string>(services);
  const allOf = async (service: Service) => {
    const contract = statusContracts[service] as Contract as RequestContract<StatusQuery, ServiceStatus>;
    const answers = await bus.requestAll(contract, {}, gatherMs, timeoutMs);
    if (answers.length === 0) awaited.delete(service);
    return [service, answers] as const;
  };
  const areAllFound = (found: readonly Discovered[]) =>
    [...awaited].every((service) => found.some(({ name }) => name === service));
  const [found, dataplane, replicas] = await Promise.all([
    bus.discover(gatherMs, timeoutMs, areAllFound),
    bus.request(contracts.dataplaneStatus, {}, answerMs).catch((error: unknown) => {
      if (error instanceof PspError && ['SERVICE_DOWN', 'SERVICE_TIMEOUT'].includes(error.code)) {
        awaited.delete('dataplane');
        return undefined;
      }
      throw error;
    }),
    Promise.all(replicated.map(allOf)),
  ]);
  const answers = { dataplane, replicas: new Map(replicas) };
  const all = replicas.flatMap(([, each]) => each);
  const startedOf = ({ name, id }: Discovered) =>
    name === 'dataplane' ? dataplane?.startedMs : all.find((replica) => replica.id === id)?.startedMs;
  const silent = silentServices(answers).map((service) => ({
    part: service,
    message: `${service} does not answer; see its log, \`psp up\` restarts it`,
    sinceMs: 0n,
  }));
  const reported = [...(dataplane?.health ?? []), ...all.flatMap(({ health }) => health)];
  const isCertificateReported = reported.some(({ part }) => part === 'certificate');
  return {
    name,
    notices: configNotices(config, [dataplane, ...all]),
    health: [...silent, ...(isCertificateReported ? [] : await filesHealth(config)), ...reported],
    services: found.map((service) => ({ ...service, startedMs: startedOf(service) ?? null })),
    ...answers,
  };
}

/** What of the node file does not run: changes since it was read, why it was refused, and keys that take a restart. */
function configNotices(
  config: NodeConfig,
  answers: readonly (Pick<ServiceStatus, 'config'> | undefined)[],
): Health[] {
  const states = answers.flatMap((answer) => answer?.config ?? []);
  const notice = (message: string) => [{ part: 'config', message, sinceMs: 0n }];
  const refused = states.find(({ refusal }) => refusal !== '');
  if (refused !== undefined)
    return notice(
      `the node file was refused when it was read last (${refused.refusal}); \`psp reload\` says why, and applies it once it is correct`,
    );
  if (states.some(({ fileDigest }) => fileDigest !== config.digest))
    return notice('the node file has changed since it was read; `psp reload` applies it');
  const keys = [...new Set(states.flatMap(({ restartKeys }) => restartKeys))];
  return keys.length === 0
    ? []
    : notice(`these keys take effect with the next start of the node: ${keys.join(', ')}`);
}

/** The faults that keep the key exchange from starting with the current files, as far as this user may read them. */
async function filesHealth(config: NodeConfig): Promise<Health[]> {
  try {
    return certificateHealth(await certificateOf(config), unixMs());
  } catch (error) {
    if (error instanceof PspError) return [];
    throw error;
  }
}

function silentServices({ dataplane, replicas }: Answers): Service[] {
  const answered = (service: Service) =>
    service === 'dataplane' ? dataplane !== undefined : (replicas.get(service) ?? []).length > 0;
  return services.filter((service) => !answered(service));
}

/** Services whose name in JSON differs. */
const jsonNames: Partial<Record<Service, string>> = { keyexchange: 'keyExchange' };

function asJson({ name, health, services, dataplane, replicas }: NodeStatus) {
  return {
    node: name,
    ok: health.length === 0,
    health,
    services,
    dataplane:
      dataplane === undefined
        ? null
        : {
            ...dataplane,
            epoch: formatEpoch(dataplane.epoch),
            samplingLog2: dataplane.samplingLog2 ?? null,
            traffic: dataplane.traffic.map(({ epoch, ...traffic }) => ({
              ...traffic,
              tunnelsLeft: traffic.tunnelsLeft ?? null,
              epoch: epoch === undefined ? null : formatEpoch(epoch),
            })),
            spisLeft: dataplane.spisLeft ?? null,
            terms: dataplane.terms.map(({ mode, samplingLog2, ...terms }) => ({
              ...terms,
              mode: modeName(mode),
              samplingLog2: samplingLog2 ?? null,
            })),
          },
    ...Object.fromEntries(
      replicated.map((service) => [jsonNames[service] ?? service, replicas.get(service)]),
    ),
  };
}
