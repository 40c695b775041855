# Rules that hold for every container, whatever its configuration. This file is
# not a check: check.nix evaluates it for each check. The result lists the
# faults.
{
  lib,
  config,
  system,
}:

let
  units = lib.attrNames (lib.filterAttrs (_: unit: unit.enable) config.systemd.units);
  etc = lib.attrNames (lib.filterAttrs (_: file: file.enable) config.environment.etc);
  packages = map (p: p.pname or p.name or (toString p)) config.environment.systemPackages;
  unitsLike = pattern: lib.filter (name: builtins.match pattern name != null) units;
  none = what: found: lib.optional (found != [ ]) "${what}: ${toString found}";
  must = what: holds: lib.optional (!holds) what;
  base = builtins.fromJSON (
    builtins.unsafeDiscardStringContext config.environment.etc."nixoci/base.json".text
  );
  # Units that are skipped in every container are allowed.
  notSkipped = lib.filter (
    name:
    toString (
      config.systemd.services.${lib.removeSuffix ".service" name}.unitConfig.ConditionVirtualization or ""
    ) != "!container"
  );
  onlyWith =
    capability: unit:
    lib.optional (
      lib.elem "${unit}.service" units
      && toString (config.systemd.services.${unit}.unitConfig.ConditionCapability or "") != capability
    ) "${unit}.service is tried without ${capability}";
in

none "settings of the host's kernel" (
  lib.filter (name: builtins.match "(kernel\\.(msg|sem|shm).*|fs\\.mqueue\\..*|net\\..*)" name == null) (
    lib.attrNames config.boot.kernel.sysctl
  )
)
++ none "files with settings of the kernel that are not the module's" (
  lib.filter (name: lib.hasPrefix "sysctl.d/" name && name != "sysctl.d/60-nixos.conf") etc
)
++ none "units that change the host's kernel" (
  notSkipped (
    unitsLike "(systemd-binfmt|disable-kernel-module-loading|enable-ksm|apparmor|nixos-sysfs@)\\.service"
  )
  ++ unitsLike "proc-sys-fs-binfmt_misc\\..*"
)
++ must "activation changes the host's kernel" (!config.boot.modprobeConfig.enable)
++ none "files that the engine mounts" (
  lib.intersectLists etc [
    "hosts"
    "hostname"
    "resolv.conf"
  ]
)
++ none "a ramfs for the shutdown" (unitsLike ".*(shutdown-ramfs|initramfs).*")
++ none "mounts for the shutdown" (
  lib.filter (m: m.enable && m.where == "/run/initramfs") config.systemd.mounts
)
++ none "gettys" (unitsLike "((console-)?getty|(container-|serial-)?getty@|autovt@)\\.service|getty\\.target")
++ none "sockets of a virtual machine" (unitsLike ".*vsock.*")
++ none "units that listen for sshd" (unitsLike "sshd\\.socket")
++ none "waits for a network that the engine has set up" (unitsLike ".*-wait-online\\.service")
++ none "writes the machine id that is written already" (
  unitsLike "systemd-machine-id-commit\\.service"
)
++ none "needs a computer" (unitsLike "(fstrim|systemd-udevd|systemd-oomd|emergency)\\.service")
++ onlyWith "CAP_NET_ADMIN" "nftables"
++ onlyWith "CAP_NET_ADMIN" "firewall"
++ lib.concatMap (onlyWith "CAP_SYS_TIME") [
  "chronyd"
  "ntpd"
  "ntpd-rs"
  "openntpd"
]
++ none "mounts of NixOS's that are tried without CAP_SYS_ADMIN" (
  lib.filter (name: !lib.elem "nixoci-${name}" (map (p: p.name or "") config.systemd.packages)) (
    lib.optional config.boot.tmp.useTmpfs "tmp"
  )
)
++ none "mounts that are the engine's" (lib.attrNames config.boot.specialFileSystems)
++ must "boot.isContainer is false" config.boot.isContainer
++ must "there is a stage 1" (!config.boot.initrd.enable)
++ must "/etc is an overlay" (!config.system.etc.overlay.enable)
++ must "the switch installs a boot loader" (
  lib.hasSuffix "/bin/true" config.system.build.installBootLoader
)
++ must "the toplevel has no nixoci-init" (
  lib.hasInfix "/bin/nixoci-init $out/nixoci-init" (
    config.system.systemBuilderCommands or config.system.extraSystemBuilderCmds
  )
)
++ must "the journal does not go to the console" (config.services.journald.console == "/dev/console")
++ (
  if config.nixoci.apply.enable then
    must "nixoci-apply.service does not start" (
      lib.elem "multi-user.target" config.systemd.services.nixoci-apply.wantedBy
    )
    ++ must "base.json is for another system" (
      base.system == system && base.minimal == config.nixoci.minimal
    )
    ++ must "Nix uses a daemon of the host" (config.environment.variables.NIX_REMOTE == "")
  else
    none "parts of apply" (
      unitsLike "nixoci-(apply|watch)\\.service" ++ lib.intersectLists etc [ "nixoci/base.json" ]
    )
)
++ lib.optionals config.nixoci.minimal (
  none "packages that a minimal system has no use for" (
    lib.intersectLists packages [
      "bcache-tools"
      "fontconfig"
      "kexec-tools"
      "nixos-install"
      "nixos-generate-config"
      "texinfo-interactive"
    ]
  )
)
