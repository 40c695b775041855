# NixOS as a Docker, podman or Kubernetes container.
#
# Works with nixpkgs 24.05 to 26.05: an option is set only where the nixpkgs at
# hand has it and has not renamed or removed it, see `set` below. Which of them
# come and go, and how that was checked, is in docs/nixos-module.md.
{
  config,
  options,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.nixoci;

  # Beats what NixOS's own modules set with mkDefault (1000), and yields to
  # whatever a configuration says plainly (100).
  weakly = lib.mkOverride 900;

  # Options that were renamed or removed are still declared, but invisible; to
  # set them would warn or fail.
  live =
    path:
    let
      option = lib.attrByPath path null options;
    in
    option != null && (option.visible or true) != false;

  set = path: value: lib.optionalAttrs (live path) (lib.setAttrByPath path value);

  # The same for an option that has had several names, newest first.
  setFirst =
    paths: value:
    let
      found = lib.filter live paths;
    in
    lib.optionalAttrs (found != [ ]) (lib.setAttrByPath (lib.head found) value);

  # This directory as a store path of its own: always the same one, however
  # often a system that came out of it is evaluated again from it.
  source = builtins.path {
    name = "nixoci-nix";
    path = ./.;
    filter = path: _: lib.hasSuffix ".nix" path || lib.hasSuffix ".lock" path;
  };
in

{
  options.nixoci = {
    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./nixoci-init.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./nixoci-init.nix { }";
      description = "The package with bin/nixoci-init, PID 1 of the container.";
    };

    nixpkgs = lib.mkOption {
      type = lib.types.str;
      # A nixpkgs that is in the store already as a flake's input keeps its
      # path: both are named source and addressed by their contents.
      default = builtins.path {
        name = "source";
        path = pkgs.path;
      };
      defaultText = lib.literalExpression "pkgs.path";
      description = ''
        Store path of the nixpkgs that Nix inside the container uses: in the
        registry, as <nixpkgs>, and for the configuration in /config.
      '';
    };

    apply.enable = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = ''
        Whether the container builds /config/configuration.nix or
        /config/flake.nix when it starts, and switches to it. Without it the
        image holds neither Nix nor nixpkgs for that purpose.
      '';
    };

    base = lib.mkOption {
      type = lib.types.attrsOf lib.types.unspecified;
      internal = true;
      default = {
        version = 1;
        system = pkgs.stdenv.hostPlatform.system;
        nixpkgs = cfg.nixpkgs;
        module = source;
        init = "${cfg.package}";
        nix = "${config.nix.package}";
      };
      description = ''
        What a configuration in /config is built from: the contents of
        /etc/nixoci/base.json. A system that was built from it carries it on
        unchanged, so that it is recognised when the container starts again.
      '';
    };
  };

  config = lib.mkMerge [
    # What makes a system one for a container in every nixpkgs.
    {
      boot.isContainer = true;

      # The engine mounts these; without CAP_SYS_ADMIN nobody else can.
      boot.specialFileSystems = lib.mkForce { };
      system.activationScripts.specialfs = lib.mkForce "";

      # The engine binds these three files: a link cannot be renamed over them
      # (nixpkgs #162686, #343783), and they are right as they are.
      environment.etc."resolv.conf".enable = lib.mkForce false;
      environment.etc.hosts.enable = lib.mkForce false;
      environment.etc.hostname.enable = lib.mkForce false;

      # Nobody logs in on a console that is a log.
      systemd.services."getty@".enable = weakly false;
      systemd.services."serial-getty@".enable = weakly false;
      systemd.services."autovt@".enable = weakly false;
      systemd.services."container-getty@".enable = weakly false;
      systemd.services.console-getty.enable = weakly false;
    }

    # Where getty hangs no longer on console.enable, which is false below.
    (set [ "services" "getty" "enable" ] (weakly false))

    # PID 1: /sbin/init of the image leads here.
    (setFirst
      [
        [ "system" "systemBuilderCommands" ] # from 25.11 on
        [ "system" "extraSystemBuilderCmds" ]
      ]
      ''
        ln -s ${cfg.package}/bin/nixoci-init $out/nixoci-init
      ''
    )

    # The network is the engine's.
    (set [ "networking" "useHostResolvConf" ] (weakly false))
    (set [ "networking" "resolvconf" "enable" ] (weakly false))
    (set [ "networking" "useDHCP" ] (weakly false))
    (set [ "networking" "dhcpcd" "enable" ] (weakly false))
    (set [ "networking" "firewall" "enable" ] (weakly false))
    (set [ "networking" "hostName" ] (weakly ""))
    (set [ "system" "name" ] (
      weakly (if config.networking.hostName == "" then "container" else config.networking.hostName)
    ))

    # The log is the console. nixoci-init asks for the same on the kernel
    # command line; this is for systems that are started by something else.
    (set [ "services" "journald" "console" ] (weakly "/dev/console"))

    # Hardware, time, and what needs privileges only to fail without them.
    (set [ "console" "enable" ] (weakly false))
    (set [ "services" "timesyncd" "enable" ] (weakly false))
    (set [ "systemd" "oomd" "enable" ] (weakly false))
    (set [ "systemd" "coredump" "enable" ] (weakly false))
    # Newer ones enable them where there are some; older ones, everywhere.
    (set [ "boot" "enableContainers" ] (weakly (config.containers or { } != { })))

    # Mounts that a container has no use for. systemd tries them when it may, and
    # a kernel that lacks one makes the whole system degraded.
    (set [ "systemd" "units" ] (
      lib.genAttrs [
        "dev-hugepages.mount"
        "sys-fs-fuse-connections.mount"
        "sys-kernel-config.mount"
        "sys-kernel-debug.mount"
        "sys-kernel-tracing.mount"
      ] (_: { enable = weakly false; })
    ))

    # The store is a layer of the image; a bind mount over it cannot be made.
    (set [ "boot" "nixStoreMountOpts" ] (weakly [ ])) # from 25.05 on
    (set [ "boot" "readOnlyNixStore" ] (weakly false)) # until 24.11

    # /run/wrappers is a tmpfs of its own only where it may be mounted. Where it
    # may not, the wrappers lie in /run, which engines mount nosuid.
    (lib.mkIf (config.security.enableWrappers or true) {
      systemd.packages = [
        (pkgs.writeTextFile {
          name = "nixoci-run-wrappers";
          destination = "/etc/systemd/system/run-wrappers.mount.d/nixoci.conf";
          text = ''
            [Unit]
            ConditionCapability=CAP_SYS_ADMIN
          '';
        })
      ];
      systemd.services.suid-sgid-wrappers.preStart = "mkdir -p /run/wrappers";
    })

    # Nix in the container.
    (lib.mkIf cfg.apply.enable (
      lib.mkMerge [
        # Its sandbox needs privileges that a container does not have.
        (set [ "nix" "settings" ] {
          sandbox = weakly false;
          # Not experimental-features: a configuration may say that as a string,
          # which does not merge with a list.
          extra-experimental-features = [
            "nix-command"
            "flakes"
          ];
        })
        # NixOS takes it that the container's Nix is the host's.
        { environment.variables.NIX_REMOTE = lib.mkForce ""; }
        (set [ "nix" "nixPath" ] (
          weakly [
            "nixpkgs=${cfg.nixpkgs}"
            "nixos-config=/config/configuration.nix"
          ]
        ))
        (set [ "nix" "registry" ] {
          # Weaker than mkDefault (1000), as which NixOS sets what a configuration
          # says with nix.registry.nixpkgs.flake, and nixpkgs.flake.source.
          nixpkgs.to = lib.mkOverride 1100 {
            type = "path";
            path = cfg.nixpkgs;
          };
        })
        (set [ "system" "switch" "enable" ] (weakly true))
        {
          environment.etc."nixoci/base.json".text = builtins.toJSON cfg.base + "\n";

          systemd.services.nixoci-apply = {
            description = "Build and switch to the configuration in /config";
            wantedBy = [ "multi-user.target" ];
            after = [ "nix-daemon.socket" ];
            path = [
              config.nix.package
              pkgs.gitMinimal
            ];
            environment.HOME = "/root";
            # It switches the system it belongs to.
            restartIfChanged = false;
            stopIfChanged = false;
            unitConfig.X-StopOnRemoval = false;
            serviceConfig = {
              # Started as soon as it runs: it waits for the boot to end, which
              # must not wait for it.
              Type = "notify";
              ExecStart = "${cfg.package}/bin/nixoci-init apply";
              RemainAfterExit = true;
              SyslogIdentifier = "nixoci";
              LogRateLimitIntervalSec = 0; # a build may say a lot at once
            };
          };

          systemd.services.nixoci-watch = {
            description = "Apply the configuration again when it changes";
            wantedBy = [ "multi-user.target" ];
            after = [ "nixoci-apply.service" ];
            path = [
              config.nix.package
              pkgs.gitMinimal
            ];
            environment.HOME = "/root";
            restartIfChanged = false;
            stopIfChanged = false;
            unitConfig.X-StopOnRemoval = false;
            serviceConfig = {
              Type = "exec";
              ExecStart = "${cfg.package}/bin/nixoci-init watch";
              RemainAfterExit = true; # it ends at once unless NIXOCI_WATCH=1
              SyslogIdentifier = "nixoci";
              LogRateLimitIntervalSec = 0;
            };
          };
        }
      ]
    ))

    # Spares every configuration the warning; one that keeps data says better.
    (set [ "system" "stateVersion" ] (lib.mkDefault lib.trivial.release))
  ];
}
