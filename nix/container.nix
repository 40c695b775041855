# NixOS as a Docker, podman or Kubernetes container.
#
# For nixpkgs 24.05 to 26.11. docs/nixos-module.md describes what it
# sets. nix/check.sh checks it with a nixpkgs.
{
  config,
  options,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.nixoci;
  inherit (import ./options.nix { inherit lib options; }) set setFirst;

  # This priority is stronger than mkDefault (1000) in NixOS's own modules, and
  # weaker than a plain definition in a configuration (100).
  weakly = lib.mkOverride 900;

  # The mount unit NAME starts only with the capability.
  ifItMayMount =
    name:
    pkgs.writeTextFile {
      name = "nixoci-${name}";
      destination = "/etc/systemd/system/${name}.mount.d/nixoci.conf";
      text = ''
        [Unit]
        ConditionCapability=CAP_SYS_ADMIN
      '';
    };

  # A unit that runs nixoci-init COMMAND.
  service = command: unit: {
    inherit (unit) description after;
    wantedBy = [ "multi-user.target" ];
    path = [
      config.nix.package
      pkgs.gitMinimal
    ];
    environment.HOME = "/root";
    # The unit switches the system that it belongs to, so the switch must not
    # stop it.
    restartIfChanged = false;
    stopIfChanged = false;
    unitConfig.X-StopOnRemoval = false;
    serviceConfig = {
      Type = unit.type;
      ExecStart = "${cfg.package}/bin/nixoci-init ${command}";
      RemainAfterExit = true;
      SyslogIdentifier = "nixoci";
      LogRateLimitIntervalSec = 0; # a build may print much at once
    };
  };
in

{
  imports = [
    ./kernel.nix
    ./minimal.nix
    ./network.nix
  ];

  options.nixoci = {
    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./nixoci-init.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./nixoci-init.nix { }";
      description = "The package with bin/nixoci-init, PID 1 of the container.";
    };

    nixpkgs = lib.mkOption {
      type = lib.types.str;
      # If a flake's input nixpkgs is already in the store, it keeps its path.
      # Both are named "source", and their contents give the path.
      default = builtins.path {
        name = "source";
        path = pkgs.path;
      };
      defaultText = lib.literalExpression "pkgs.path";
      description = ''
        Store path of the nixpkgs that Nix in the container uses: in the flake
        registry, as <nixpkgs>, and for the configuration in /config.
      '';
    };

    apply.enable = lib.mkOption {
      type = lib.types.bool;
      default = config.nix.enable;
      defaultText = lib.literalExpression "config.nix.enable";
      description = ''
        Whether the container builds /config/configuration.nix or
        /config/flake.nix at its start, and switches to the built system. If
        false, nixoci adds neither Nix nor nixpkgs to the image.
      '';
    };

    base = lib.mkOption {
      type = lib.types.attrsOf lib.types.unspecified;
      internal = true;
      default = {
        version = 1;
        system = pkgs.stdenv.hostPlatform.system;
        minimal = cfg.minimal;
        # Only the nixpkgs of a flake contains its version.
        nixos = { inherit (config.system.nixos) versionSuffix revision; };
        nixpkgs = cfg.nixpkgs;
        module = "${(import ./source.nix { inherit lib; }).module}/nix";
        init = "${cfg.package}";
        nix = "${config.nix.package}";
      };
      description = ''
        The content of /etc/nixoci/base.json. It lists the inputs from which the
        container builds the configuration in /config. The built system contains
        the same file, so that nixoci-init recognises the system when the
        container starts again.
      '';
    };
  };

  config = lib.mkMerge [
    {
      boot.isContainer = true;

      # PID 1 starts the stage 2 script. There is no stage 1.
      boot.initrd.enable = lib.mkForce false;
      system.etc.overlay.enable = lib.mkForce false;
      # A configuration may also be used for a computer. In a container there is
      # no boot loader.
      boot.loader.grub.enable = lib.mkForce false;
      boot.loader.systemd-boot.enable = lib.mkForce false;
      system.build.installBootLoader = lib.mkForce "${pkgs.coreutils}/bin/true";

      # NixOS itself sets these without mkDefault for containers. A
      # configuration for a computer may set the opposite, so mkForce is needed.
      security.audit.enable = lib.mkForce false;
      services.udev.enable = lib.mkForce false;

      # The engine mounts these. Without CAP_SYS_ADMIN the container cannot.
      boot.specialFileSystems = lib.mkForce { };
      system.activationScripts.specialfs = lib.mkForce "";
      # If a mount fails, continue. Nobody can log in to repair it.
      systemd.enableEmergencyMode = weakly false;

      # The console is a log, so nobody can log in there. The boot does not wait
      # for terminals that a configuration adds, because the target is off.
      systemd.targets.getty.enable = weakly false;
      systemd.services."getty@".enable = weakly false;
      systemd.services."serial-getty@".enable = weakly false;
      systemd.services."autovt@".enable = weakly false;
      systemd.services."container-getty@".enable = weakly false;
      systemd.services.console-getty.enable = weakly false;
      # Users who may run commands in the container are root there.
      users.allowNoPasswordLogin = weakly true;

      # The console is the log. nixoci-init sets the same on the kernel command
      # line. This option is for systems that another program starts.
      services.journald.console = weakly "/dev/console";

      # These units concern hardware and time, or would fail without privileges.
      console.enable = weakly false;
      services.fstrim.enable = weakly false;
      services.lvm.enable = weakly false;
      services.timesyncd.enable = weakly false;
      systemd.oomd.enable = weakly false;
      systemd.coredump.enable = weakly false;
      systemd.shutdownRamfs.enable = weakly false;
      # Newer versions of NixOS enable this only if there are containers, older
      # ones always.
      boot.enableContainers = weakly (config.containers != { });

      # sshd itself listens, not a socket of systemd, because the engine
      # publishes ports. The sockets for virtual machines are off, too. NixOS
      # sets these with drop-ins. So leave the units out instead of masking
      # them.
      services.openssh.startWhenNeeded = weakly false;
      systemd.sockets.sshd-vsock.enable = weakly false;
      systemd.services."sshd-vsock@".enable = weakly false;
      systemd.suppressedSystemUnits = [
        "sshd-vsock.socket"
        "sshd-vsock@.service"
      ];
      systemd.generators.systemd-ssh-generator = weakly "/dev/null";

      # The engine has set up the network before the container starts.
      systemd.network.wait-online.enable = weakly false;

      # nixoci-init or a mount has written /etc/machine-id.
      systemd.services.systemd-machine-id-commit.enable = weakly false;

      # A container does not need these mounts. systemd would try them if it
      # may. If the kernel lacks one, the system would be degraded.
      systemd.units =
        lib.genAttrs
          [
            "dev-hugepages.mount"
            "sys-fs-fuse-connections.mount"
            "sys-kernel-config.mount"
            "sys-kernel-debug.mount"
            "sys-kernel-tracing.mount"
          ]
          (_: {
            enable = weakly false;
          });

      # This chooses the version of a database, unless the configuration sets
      # it. Never raise it: existing containers would not find their data. A
      # nixpkgs older than 26.05 does not have this version yet. The priority is
      # weaker than mkDefault (1000), which some profiles of NixOS use.
      system.stateVersion = lib.mkOverride 1400 (
        if lib.versionOlder lib.trivial.release "26.05" then lib.trivial.release else "26.05"
      );
    }

    # The five options below need a check for existence. They are new or were
    # renamed between 24.05 and 26.11, or may be missing in 24.05. All other
    # options that this module sets exist in all these versions.

    # PID 1: /sbin/init of the image points to this link.
    (setFirst
      [
        [ "system" "systemBuilderCommands" ] # since 25.11
        [ "system" "extraSystemBuilderCmds" ]
      ]
      ''
        ln -s ${cfg.package}/bin/nixoci-init $out/nixoci-init
      ''
    )

    # The store is a layer of the image, and the container cannot make a bind
    # mount over it.
    (setFirst
      [
        [ "boot" "nixStoreMountOpts" ] # since 25.05
        [ "boot" "readOnlyNixStore" ]
      ]
      (lib.mkOverride 900 (if options.boot ? nixStoreMountOpts then [ ] else false))
    )

    (set [ "system" "nixos-init" "enable" ] (lib.mkForce false)) # since 25.11
    # These options exist in every nixpkgs that was checked. 24.05 was not checked.
    # With `set` the system evaluates in any case.
    (set [ "boot" "bcache" "enable" ] (weakly false))
    (set [ "boot" "kexec" "enable" ] (weakly false))

    (lib.mkIf config.networking.networkmanager.enable {
      systemd.services.NetworkManager-wait-online.enable = weakly false;
    })

    # Skip NixOS's own mounts if the container may not mount. Then /tmp is a
    # directory of the image. The wrappers are in /run, which engines mount
    # nosuid. The option enableWrappers is newer than the wrappers. Here it is
    # only read.
    (lib.mkIf (config.security.enableWrappers or true) {
      systemd.packages = [ (ifItMayMount "run-wrappers") ];
      systemd.services.suid-sgid-wrappers.preStart = "mkdir -p /run/wrappers";
    })
    (lib.mkIf config.boot.tmp.useTmpfs {
      systemd.packages = [ (ifItMayMount "tmp") ];
    })
    # If the container may not mount, these units would fail. With immutable
    # users they mount the password files read-only over themselves. Both units
    # are newer than 24.05.
    (lib.mkIf (!config.users.mutableUsers && (config.services.userborn.enable or false)) {
      systemd.services.userborn.serviceConfig.ExecStartPost = lib.mkForce [ ];
    })
    (lib.mkIf (!config.users.mutableUsers && (config.systemd.sysusers.enable or false)) {
      systemd.services.systemd-sysusers.serviceConfig.ExecStartPost = lib.mkForce [ ];
    })

    # Nix in the container.
    (lib.mkIf cfg.apply.enable {
      # The sandbox needs privileges that a container does not have.
      nix.settings.sandbox = weakly false;
      # This is not experimental-features, because a configuration may set that
      # as a string. A string does not merge with a list.
      nix.settings.extra-experimental-features = [
        "nix-command"
        "flakes"
      ];
      # NixOS assumes that the container uses the Nix of the host.
      environment.variables.NIX_REMOTE = lib.mkForce "";
      nix.nixPath = weakly [
        "nixpkgs=${cfg.nixpkgs}"
        "nixos-config=/config/configuration.nix"
      ];
      # This priority is weaker than mkDefault (1000). With mkDefault NixOS sets
      # the value of nix.registry.nixpkgs.flake and nixpkgs.flake.source.
      nix.registry.nixpkgs.to = lib.mkOverride 1100 {
        type = "path";
        path = cfg.nixpkgs;
      };
      system.switch.enable = weakly true;

      # NixOS makes a link to /dev/null for each masked unit. The system does
      # not refer to these links, but the next system is built from them.
      system.extraDependencies = map (unit: unit.unit) (
        lib.filter (unit: !unit.enable) (lib.attrValues config.systemd.units)
      );

      environment.etc."nixoci/base.json".text = builtins.toJSON cfg.base + "\n";

      systemd.services.nixoci-apply = service "apply" {
        description = "Build and switch to the configuration in /config";
        # Build when the container's network and resolver work. The build runs
        # while systemd still starts. Root needs no nix-daemon.
        after = [
          "network.target"
          "nss-lookup.target"
        ];
        # The unit counts as started at once. The switch waits for the end of
        # the boot, so the boot must not wait for the build.
        type = "notify";
      };
      systemd.services.nixoci-watch = service "watch" {
        description = "Apply the configuration again when it changes";
        after = [ "nixoci-apply.service" ];
        type = "exec"; # ends at once unless NIXOCI_WATCH=1
      };
    })
  ];
}
