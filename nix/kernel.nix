# All containers share the kernel of the host. This module leaves out every
# change of the kernel that NixOS, or a configuration that is also used for a
# computer, would make. Without this, such a change would happen if the engine
# lets the container write to /proc and /sys. If a configuration asks for such a
# change, a warning says so.
{
  config,
  options,
  lib,
  modulesPath,
  ...
}:

let
  # These kernel settings belong to the container, not to the host. Docker and
  # Kubernetes accept the same settings with --sysctl.
  namespaced =
    name:
    lib.hasPrefix "net." name
    || lib.hasPrefix "fs.mqueue." name
    || lib.elem name [
      "kernel.msgmax"
      "kernel.msgmnb"
      "kernel.msgmni"
      "kernel.sem"
      "kernel.shmall"
      "kernel.shmmax"
      "kernel.shmmni"
      "kernel.shm_rmid_forced"
    ];
  # Settings of the host that the configuration itself sets, without those that
  # NixOS sets.
  refused = lib.unique (
    lib.concatMap (
      definition:
      lib.optionals (!lib.hasPrefix (toString modulesPath) (toString definition.file)) (
        lib.filter (name: !namespaced name) (lib.attrNames definition.value)
      )
    ) options.boot.kernel.sysctl.definitionsWithLocations
  );

  setsSysfs = (config.boot.kernel.sysfs or { }) != { };

  # Skip the units instead of masking them, because other units may need them.
  notHere.unitConfig.ConditionVirtualization = "!container";

  # hosts OPTION SET UNITS: skips units that would change the host's kernel
  # because of OPTION.
  hosts =
    option: isSet: units:
    lib.mkIf isSet {
      warnings = [
        "nixoci: ${option} would change the kernel of the host, which all containers share, and has no effect in this one. Set it on the host."
      ];
      systemd.services = lib.genAttrs units (_: notHere);
    };

  # needs CAPABILITY EXISTS UNIT: skips the unit without the capability, because
  # it would fail.
  needs =
    capability: exists: unit:
    lib.mkIf exists {
      systemd.services.${unit}.unitConfig.ConditionCapability = capability;
    };
in

{
  # systemd-sysctl would change settings of the kernel. This adds a filter to
  # the option that NixOS declares.
  options.boot.kernel.sysctl = lib.mkOption {
    apply = lib.filterAttrs (name: _: namespaced name);
  };

  config = lib.mkMerge [
    {
      warnings = lib.optional (refused != [ ]) ''
        nixoci: boot.kernel.sysctl: ${lib.concatStringsSep ", " refused} would change the kernel of the host, which all containers share, and is left out of this one. Set it on the host.
      '';

      # NixOS itself sets these without mkDefault for containers. A
      # configuration for a computer may set the opposite, so mkForce is needed.
      # modprobeConfig would tell the kernel to load modules with a program that
      # exists only in the container.
      boot.kernel.enable = lib.mkForce false;
      boot.modprobeConfig.enable = lib.mkForce false;

      environment.etc."sysctl.d/50-default.conf".enable = lib.mkForce false;
      environment.etc."sysctl.d/50-coredump.conf".enable = lib.mkForce false;
      environment.etc."sysctl.d/55-nixos-aslr-entropy.conf".enable = lib.mkForce false;
    }

    # These interpreters exist only in the container. When the container stops,
    # systemd-binfmt would remove the interpreters of the host.
    (hosts "boot.binfmt" (config.boot.binfmt.registrations != { }) [ "systemd-binfmt" ])
    (lib.mkIf (config.boot.binfmt.registrations != { }) {
      systemd.suppressedSystemUnits = [
        "proc-sys-fs-binfmt_misc.automount"
        "proc-sys-fs-binfmt_misc.mount"
      ];
    })
    # This option is newer than 25.05. A path unit would start a skipped service
    # again and again.
    (hosts "boot.kernel.sysfs" setsSysfs [ "nixos-sysfs@" ])
    (lib.mkIf setsSysfs { systemd.paths."nixos-sysfs@" = notHere; })
    (hosts "hardware.ksm.enable" config.hardware.ksm.enable [ "enable-ksm" ])
    # The unit starts by removing all policies from the kernel.
    (hosts "security.apparmor.enable" config.security.apparmor.enable [ "apparmor" ])
    # Skip it without a warning, because a container loads no modules. NixOS's
    # profile for hardened systems sets this option.
    (lib.mkIf config.security.lockKernelModules {
      systemd.services.disable-kernel-module-loading = notHere;
    })

    # The clock belongs to the host, unless the engine lets the container set
    # it.
    (needs "CAP_SYS_TIME" config.services.chrony.enable "chronyd")
    (needs "CAP_SYS_TIME" config.services.ntp.enable "ntpd")
    (needs "CAP_SYS_TIME" config.services.ntpd-rs.enable "ntpd-rs")
    (needs "CAP_SYS_TIME" config.services.openntpd.enable "openntpd")
    # The network also belongs to the host, if the engine gives the container no
    # network of its own.
    (needs "CAP_NET_ADMIN" config.networking.nftables.enable "nftables")
    (needs "CAP_NET_ADMIN" config.networking.firewall.enable "firewall")
  ];
}
