# Users and groups are files of the system here. Activation creates nothing.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.users;
  nullable =
    type:
    mkOption {
      type = types.nullOr type;
      default = null;
    };
  line = lib.concatStringsSep ":";
  user =
    { name, config, ... }:
    {
      options = {
        name = mkOption {
          type = types.str;
          default = name;
        };
        description = mkOption {
          type = types.str;
          default = "";
        };
        isNormalUser = lib.mkEnableOption "a login";
        isSystemUser = lib.mkEnableOption "a system user";
        uid = nullable types.int;
        group = mkOption {
          type = types.str;
          default = "";
        };
        extraGroups = mkOption {
          type = types.listOf types.str;
          default = [ ];
        };
        home = mkOption {
          type = types.path;
          default = "/var/empty";
        };
        shell = mkOption {
          type = types.nullOr (types.either types.path types.package);
          default = "/bin/false";
        };
        password = nullable types.str;
        initialPassword = nullable types.str;
        hashedPassword = nullable types.str;
        hashedPasswordFile = nullable types.str;
        openssh.authorizedKeys.keys = mkOption {
          type = types.listOf types.str;
          default = [ ];
        };
      };
      config = lib.mkIf config.isNormalUser {
        group = lib.mkDefault "users";
        home = lib.mkDefault "/home/${name}";
        shell = lib.mkDefault "${pkgs.bash}/bin/bash";
      };
    };
  group =
    { name, ... }:
    {
      options = {
        name = mkOption {
          type = types.str;
          default = name;
        };
        gid = nullable types.int;
        members = mkOption {
          type = types.listOf types.str;
          default = [ ];
        };
      };
    };
  allowsLogin = hash: hash == "" || (hash != null && !(lib.hasPrefix "!" hash) && hash != "*");
  numbered = lib.mapAttrsToList (
    name: v: lib.throwIfNot (v.uid or v.gid or null != null) "${name} has no number: this NixOS gives none" v
  );
in
{
  options.users = {
    mutableUsers = mkOption {
      type = types.bool;
      default = true;
    };
    allowNoPasswordLogin = mkOption {
      type = types.bool;
      default = false;
    };
    users = mkOption {
      type = types.attrsOf (types.submodule user);
      default = { };
    };
    groups = mkOption {
      type = types.attrsOf (types.submodule group);
      default = { };
    };
  };

  config = {
    assertions = [
      {
        # At least one user must be able to log in.
        assertion =
          cfg.mutableUsers
          || cfg.allowNoPasswordLogin
          || lib.any lib.id (
            lib.mapAttrsToList (
              name: u:
              (name == "root" || u.group == "wheel" || lib.elem "wheel" u.extraGroups)
              && (
                allowsLogin u.hashedPassword
                || u.password != null
                || u.hashedPasswordFile != null
                || u.openssh.authorizedKeys.keys != [ ]
              )
            ) cfg.users
          );
        message = ''
          Neither the root account nor any wheel user has a password or SSH authorized key.
          You must set one to prevent being locked out of your system.
          If you really want to be locked out of your system, set users.allowNoPasswordLogin = true;
        '';
      }
    ]
    ++ lib.mapAttrsToList (name: u: {
      assertion = (if u.isSystemUser then 1 else 0) + (if u.isNormalUser then 1 else 0) == 1;
      message = "Exactly one of users.users.${name}.isSystemUser and users.users.${name}.isNormalUser must be set.";
    }) (removeAttrs cfg.users [ "root" "nobody" ]);

    users.users = {
      root = {
        uid = 0;
        description = "System administrator";
        home = "/root";
        shell = lib.mkDefault "${pkgs.bash}/bin/bash";
        group = "root";
      };
      nobody = {
        uid = 65534;
        group = "nogroup";
      };
      # In NixOS this is in systemd.nix. systemd's tmpfiles.d contains this
      # user.
      systemd-network = {
        uid = 152;
        isSystemUser = true;
        group = "systemd-network";
      };
    };
    users.groups = lib.mapAttrs (_: gid: { inherit gid; }) {
      root = 0;
      wheel = 1;
      adm = 4;
      tty = 5;
      disk = 6;
      lp = 7;
      dialout = 20;
      cdrom = 24;
      utmp = 43;
      video = 44;
      users = 100;
      input = 101;
      kmem = 102;
      sgx = 103;
      kvm = 104;
      render = 105;
      audio = 106;
      tape = 107;
      systemd-network = 152;
      systemd-journal = 999;
      nogroup = 65534;
    };
    environment.etc.passwd.text = lib.concatLines (
      map (
        u:
        line [
          u.name
          "x"
          (toString u.uid)
          (toString (cfg.groups.${u.group}.gid))
          u.description
          u.home
          "${toString u.shell}"
        ]
      ) (numbered cfg.users)
    );
    environment.etc.group.text = lib.concatLines (
      map (
        g:
        line [
          g.name
          "x"
          (toString g.gid)
          (lib.concatStringsSep "," (
            g.members
            ++ map (u: u.name) (lib.filter (u: lib.elem g.name u.extraGroups) (lib.attrValues cfg.users))
          ))
        ]
      ) (numbered cfg.groups)
    );
  };
}
