// SPDX-License-Identifier: Apache-2.0
// Changes of the links of both ports while the engine runs: link state, MTU, MAC address, removal. Each change is logged and
// recorded in the audit; a fault stays in the health until it ends. The engine has followed a change before it is
// reported here.
import type { LinkChange, PortInfo } from '../../../native/addon/engine.js';
import { formatMac, unmapped } from '../../shared/address.js';
import { PspError } from '../../shared/errors.js';
import type { Logger } from '../../shared/process/log.js';
import { leastMtu } from '../../shared/protocols.js';
import type { FaultList } from '../../shared/service/fault_list.js';
import type { DataplaneConfig } from '../config.js';
import type { AuditReport } from './audit_report.js';
import type { EngineInfo } from './engine.js';

export type Role = 'unsecured' | 'secured';

/** A port's link, with the MTU of its interface and the one in use. */
export type PortLink = Omit<LinkChange, 'port'>;

const stateOf = ({ present, up }: PortLink): 'up' | 'down' | 'removed' =>
  present ? (up ? 'up' : 'down') : 'removed';

export class PortLinks {
  readonly #links = new Map<Role, PortLink>();
  /** Changes that were reported before `begin`. */
  #early: LinkChange[] | undefined = [];

  constructor(
    private readonly config: Pick<DataplaneConfig, 'engine'>,
    private readonly log: Logger,
    private readonly audit: Pick<AuditReport, 'linkChanged'>,
    private readonly faults: FaultList,
    private readonly onRemoved: (error: PspError) => void,
  ) {}

  /** Reports changes from now on. @param info the links with which the engine started. */
  begin(info: EngineInfo): void {
    for (const role of ['unsecured', 'secured'] as const) {
      const link = linkOf(info[role]);
      this.#links.set(role, link);
      this.#judge(role, link);
      if (!link.up) this.log.warn({ ...this.#fields(role), code: 'LINK_DOWN' }, 'link is down');
    }
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const change of early) this.changed(change);
  }

  /** The link as it is now; undefined before `begin`. */
  of(role: Role): PortLink | undefined {
    return this.#links.get(role);
  }

  changed(change: LinkChange): void {
    if (this.#early !== undefined) {
      this.#early.push(change);
      return;
    }
    const { port, ...link } = change;
    const before = this.#links.get(port) as PortLink;
    this.#links.set(port, link);
    const report = <T extends string | number>(what: 'state' | 'mtu' | 'mac', from: T, to: T) => {
      if (from === to) return;
      const code = to === 'down' ? 'LINK_DOWN' : to === 'removed' ? 'INTERFACE_REMOVED' : undefined;
      this.log.warn({ ...this.#fields(port), what, from, to, ...(code && { code }) }, 'link changed');
      this.audit.linkChanged({ port, interface: this.#name(port), what, from, to });
    };
    report('state', stateOf(before), stateOf(link));
    if (!link.present) {
      this.onRemoved(new PspError('INTERFACE_REMOVED', { name: this.#name(port), key: `${port}.port` }));
      return;
    }
    report('mtu', before.mtu, link.mtu);
    report('mac', formatMac(before.mac), formatMac(link.mac));
    this.#judge(port, link);
  }

  #name(role: Role): string {
    return this.config.engine[role].device;
  }

  #fields(role: Role) {
    return { port: role, interface: this.#name(role) };
  }

  #judge(role: Role, { up, mtu, usedMtu }: PortLink): void {
    const name = this.#name(role);
    this.#say(`link ${role}`, up ? undefined : new PspError('LINK_DOWN', { name, key: `${role}.port` }));
    this.#say(`mtu ${role}`, this.#mtuFault(role, name, mtu, usedMtu));
  }

  #mtuFault(role: Role, name: string, mtu: number, used: number): PspError | undefined {
    const { secured } = this.config.engine;
    const need = leastMtu[unmapped(secured.address).length === 4 ? 4 : 6];
    if (role === 'secured' && mtu < need) return new PspError('MTU_TOO_SMALL', { name, mtu, need });
    return mtu > used ? new PspError('MTU_NEEDS_RESTART', { name, mtu, used }) : undefined;
  }

  #say(part: string, fault: PspError | undefined): void {
    if (fault === undefined) this.faults.clear(part);
    else this.faults.set(part, `${fault.code}: ${fault.message}`);
  }
}

const linkOf = (info: PortInfo): PortLink => ({ ...info, present: true, usedMtu: info.mtu });
