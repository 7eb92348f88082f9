// SPDX-License-Identifier: Apache-2.0
// The names of nodes and peers.

/** Names of nodes: one label of a host name, so that they fit subjects, files and identities alike. */
export const isNodeName = (value: string): boolean => /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(value);
